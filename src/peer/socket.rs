//! The UDP socket as QUIC uses it: woken by what arrives, and by room to send only while there was none.
//!
//! The one that comes with the library is told of room after every packet that left, which wakes a thread twice for every question, and
//! reads once more to see that nothing is left. What must always hold: nothing that arrived waits for a later packet, and who found no
//! room is woken when there is some.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A socket that is only watched for what arrives.
#[derive(Debug)]
pub(super) struct Socket {
    io: AsyncFd<UdpSocket>,
    state: UdpSocketState,
    /// Somebody found no room, and nobody has found some since.
    full: AtomicBool,
}

impl Socket {
    /// Must be called inside a tokio runtime, with a socket that does not block.
    pub(super) fn new(udp: UdpSocket) -> io::Result<Arc<Self>> {
        let state = UdpSocketState::new((&udp).into())?;
        let io = watch(udp, Interest::READABLE)?;
        Ok(Arc::new(Self { io, state, full: AtomicBool::new(false) }))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { socket: self, watched: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.state.send(self.io.get_ref().into(), transmit);
        if sent.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            self.full.store(true, Relaxed);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [io::IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.io.poll_read_ready(cx))?;
            match self.state.recv(self.io.get_ref().into(), bufs, meta) {
                Ok(count) => {
                    // There was no more; what came since then is told anew.
                    if count < bufs.len() {
                        guard.clear_ready();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => guard.clear_ready(),
                // The echo of a packet that nobody took.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused) => {}
                // Whatever else it is, the next packet wakes this again.
                Err(_) => guard.clear_ready(),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }
}

#[expect(
    deprecated,
    reason = "what is unsound of other types: a socket of the standard library is open while it lives"
)]
fn watch(udp: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(udp, interest)
}

/// One connection that waits for room, while there is none.
struct Writable {
    socket: Arc<Socket>,
    /// The same socket, watched for room.
    watched: Option<AsyncFd<UdpSocket>>,
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.socket.full.load(Relaxed) {
            if self.watched.is_none() {
                let again = self.socket.io.get_ref().try_clone()?;
                self.watched = Some(watch(again, Interest::WRITABLE)?);
            }
            if let Some(watched) = &self.watched {
                drop(ready!(watched.poll_write_ready(cx))?);
            }
            self.socket.full.store(false, Relaxed);
        }
        self.watched = None;
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Writable").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use quinn::udp::EcnCodepoint;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn socket() -> Arc<Socket> {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_nonblocking(true).unwrap();
        Socket::new(udp).unwrap()
    }

    fn packet(to: &Socket, contents: &'static [u8]) -> Transmit<'static> {
        let (destination, ecn) = (to.local_addr().unwrap(), None::<EcnCodepoint>);
        Transmit { destination, ecn, contents, segment_size: None, src_ip: None }
    }

    /// The first bytes of what arrives next, at most so many packets.
    async fn arrived(at: &Socket, packets_max: usize) -> Vec<u8> {
        let mut rooms = vec![[0_u8; 64]; packets_max];
        let mut bufs: Vec<_> = rooms.iter_mut().map(|room| io::IoSliceMut::new(room)).collect();
        let mut meta = vec![RecvMeta::default(); packets_max];
        let read = poll_fn(|cx| at.poll_recv(cx, &mut bufs, &mut meta));
        let count = timeout(PATIENCE, read).await.expect("what arrived is read").unwrap();
        rooms[..count].iter().map(|room| room[0]).collect()
    }

    #[tokio::test]
    async fn what_arrived_is_read_however_little_is_taken_at_once_and_so_is_what_comes_then() {
        let (here, there) = (socket(), socket());
        for round in 0..3_u8 {
            for _ in 0..5 {
                there.try_send(&packet(&here, b"packet")).unwrap();
            }
            let mut seen = Vec::new();
            while seen.len() < 5 {
                // Fewer than wait, and then more than wait.
                seen.extend(arrived(&here, if round == 0 { 8 } else { 2 }).await);
            }
            assert_eq!(seen, *b"ppppp", "round {round}");
        }
    }

    #[tokio::test]
    async fn who_found_no_room_is_woken_when_there_is_some_and_then_nobody_watches() {
        let here = socket();
        let mut poller = here.clone().create_io_poller();
        here.full.store(true, Relaxed);
        let mut other = here.clone().create_io_poller();
        for poller in [&mut poller, &mut other] {
            timeout(PATIENCE, poll_fn(|cx| poller.as_mut().poll_writable(cx))).await.expect("there is room").unwrap();
        }
        assert!(!here.full.load(Relaxed));
    }
}
