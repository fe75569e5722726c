//! How much one address and one principal may ask of the port.
//!
//! What must always hold: a flood from however many addresses takes no more memory than this room has from the start. So rates are
//! kept in a fixed number of buckets, chosen by a secret hash: two that share one are counted together, which costs them a little
//! and an attacker cannot arrange.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

/// Connections open at once; who has proven nothing yields to further ones, see `http::places`. (default, min, max)
pub const CONNECTIONS: (u64, u64, u64) = (1_024, 16, 65_536);
/// The same from one address, off loopback; further ones are closed. (default, min, max)
pub const CONNECTIONS_PER_ADDRESS: (u64, u64, u64) = (64, 1, 65_536);
/// Connections a second that one address may begin, off loopback; further ones are closed: before anybody is known, each costs a
/// handshake. (default, min, max)
pub const CONNECTION_RATE: (u64, u64, u64) = (100, 1, 1_000_000);
/// Requests a second of one principal, off loopback. (default, min, max)
pub const RATE: (u64, u64, u64) = (1_000, 1, 1_000_000);
/// Requests a second of one address without good credentials, off loopback. (default, min, max)
pub const STRANGER_RATE: (u64, u64, u64) = (20, 1, 1_000_000);
/// Bits of an IPv6 address that are one customer's; he chooses the others.
const IPV6_PREFIX_BITS: u32 = 64;

/// How many requests a second each of many may make, in bursts of as many.
pub(super) struct Rate {
    limiter: DefaultKeyedRateLimiter<u16>,
    hasher: RandomState,
    clock: DefaultClock,
}

impl Rate {
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        let limiter = DefaultKeyedRateLimiter::keyed(Quota::per_second(per_second));
        Self { limiter, hasher: RandomState::new(), clock: DefaultClock::default() }
    }

    /// Counts one request of `who`.
    ///
    /// # Errors
    /// How long to wait for the next one.
    pub(super) fn take(&self, who: &impl std::hash::Hash) -> Result<(), Duration> {
        // The low 16 bits: 65,536 buckets.
        let bucket = self.hasher.hash_one(who) as u16;
        self.limiter.check_key(&bucket).map_err(|refused| refused.wait_time_from(self.clock.now()))
    }
}

/// What is counted as one address: an IPv4 address, or the /64 of an IPv6 one.
pub(super) fn customer(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << (128 - IPV6_PREFIX_BITS)))),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_for_each_and_says_how_long_to_wait() {
        let rate = Rate::new(NonZeroU32::new(3).unwrap());
        for _ in 0..3 {
            assert_eq!(rate.take(&"a"), Ok(()));
        }
        let wait = rate.take(&"a").unwrap_err();
        assert!(!wait.is_zero() && wait <= Duration::from_millis(334), "{wait:?}");
        assert_eq!(rate.take(&"b"), Ok(()));
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_memory_than_there_are_buckets() {
        let rate = Rate::new(NonZeroU32::MIN);
        for address in 0..200_000_u32 {
            let _ = rate.take(&address);
        }
        assert!(rate.limiter.len() <= 1 << 16);
    }

    #[test]
    fn an_address_is_one_customer_s() {
        let customer = |ip: &str| customer(ip.parse().unwrap()).to_string();
        assert_eq!(customer("192.0.2.7"), "192.0.2.7");
        assert_eq!(customer("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(customer("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
