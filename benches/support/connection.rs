//! One HTTP/1.1 connection that stays, for whoever asks one thing after the other and waits.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};

use crate::request::{Head, request};

/// The connection.
pub(crate) struct Connection {
    stream: TcpStream,
    /// What came and is not taken yet.
    come: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: impl ToSocketAddrs) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, come: Vec::new() })
    }

    /// The status and body of an answer.
    pub(crate) fn ask(&mut self, method: &str, path: &str, token: &str, body: &str) -> io::Result<(u16, Vec<u8>)> {
        self.send(request(method, path, token, body).as_bytes())
    }

    /// The same of a request that is written already.
    pub(crate) fn send(&mut self, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        self.begin(request)?;
        self.end()
    }

    /// Sends a request, for whoever has others under way.
    pub(crate) fn begin(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request)
    }

    /// Waits for the answer.
    pub(crate) fn end(&mut self) -> io::Result<(u16, Vec<u8>)> {
        let mut piece = [0; 16 << 10];
        loop {
            if let Some(head) = Head::read(&self.come)?
                && head.body.end <= self.come.len()
            {
                let body = self.come[head.body.clone()].to_vec();
                self.come.drain(..head.body.end);
                return Ok((head.status, body));
            }
            match self.stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.come.extend_from_slice(&piece[..read]),
            }
        }
    }
}
