//! Ports of this machine for what is told where to listen, and for what is started again where it was.
//!
//! They lie below those that the kernel hands out to whoever asks for any (32768 to 60999 on Linux): a port of those that was free a moment
//! ago may be somebody's connection now, and that of a node which is down for a moment as well.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

const RANGE: Range<u32> = 20_000..32_000;
/// Ports between where one process begins to look and where the next one does.
const OF_A_PROCESS: u32 = 40;

/// A port of 127.0.0.1, TCP and UDP, that was given to nobody else of this process and that nobody listens at.
#[track_caller]
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(OF_A_PROCESS);
    let next = || {
        let number = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % (RANGE.end - RANGE.start);
        let port = u16::try_from(RANGE.start + number).expect("below 32,000");
        let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        (free && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()).then_some(port)
    };
    RANGE.clone().find_map(|_| next()).expect("a free port")
}
