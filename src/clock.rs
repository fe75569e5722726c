//! The only clock of the node: what time it is, for the rules that take it as an argument.
//!
//! It decides nothing. `mono` counts from the clock's start and never goes back, whatever happens to the wall clock; all clones
//! of one clock agree, so that two rooms of one node compare like with like.

mod duration;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use aop_proto::now::Now;

pub use duration::{duration_text, parse_duration};

/// Reads the machine's two clocks. Cheap to copy; copies share one start.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose `mono` is zero now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time on both clocks. A wall clock before 1970 reads as zero.
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono: self.start.elapsed(), wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }
    }

    /// The instant at which `mono` is that long, for sleeping until a deadline of the core.
    pub fn instant(&self, mono: std::time::Duration) -> Instant {
        // A deadline beyond what the platform can count is as good as a year away: nothing sleeps that long here.
        self.start.checked_add(mono).unwrap_or_else(|| self.start + std::time::Duration::from_secs(365 * 24 * 3600))
    }
}

/// Seconds since 1970 as `2026-11-21T09:30:00Z`; the date by counting 400-year cycles from March, where leap days come last.
pub fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    let year = year + cycle * 400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

/// Milliseconds since 1970 as `2026-11-21T09:30:00.250Z`: always as long, so that later times are greater texts.
pub fn rfc3339_ms(ms: u64) -> String {
    let seconds = rfc3339(ms / 1000);
    format!("{}.{:03}Z", &seconds[..seconds.len() - 1], ms % 1000)
}

/// Reads a date (`2026-11-21`, its first moment) or a time (`2026-11-21T09:30:00Z`, with a fraction or an offset if you like) as
/// milliseconds since 1970. Source: RFC 3339 §5.6.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, time),
        None => (text, "00:00:00Z"),
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let zone = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at(zone);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let in_range = year >= 1970 && (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    if !in_range || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let ms = i64::from(days_to(year, month, day)) * 86_400_000
        + i64::from(hour * 3600 + minute * 60 + second) * 1000
        + fraction_ms(fraction)?
        - offset_ms(zone)?;
    u64::try_from(ms).ok()
}

/// Numbers of exactly so many digits.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[u32; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

fn days_of(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970.
fn days_to(year: u32, month: u32, day: u32) -> u32 {
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    (year - 1970) * 365 + leap_days + (1..month).map(|month| days_of(year, month)).sum::<u32>() + day - 1
}

fn fraction_ms(digits: &str) -> Option<i64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let thousandths: String = digits.chars().chain("00".chars()).take(3).collect();
    is_number.then(|| thousandths.parse().ok())?
}

fn offset_ms(zone: &str) -> Option<i64> {
    let ahead = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return (zone.len() == 1).then_some(0),
    };
    let [hours, minutes] = numbers(&zone[1..], ':', [2, 2])?;
    (hours < 24 && minutes < 60).then(|| ahead * i64::from(hours * 60 + minutes) * 60_000)
}

/// Milliseconds since 1970 of a date and seconds after its midnight, which may be of the day before or after. Nothing before 1970, and
/// nothing for what is no date.
pub fn unix_ms(year: u16, month: u8, day: u8, seconds: i64) -> Option<u64> {
    let (year, month, day) = (u32::from(year), u32::from(month), u32::from(day));
    let is_date = year >= 1970 && (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    is_date.then(|| i64::from(days_to(year, month, day)) * 86_400 + seconds).and_then(|s| u64::try_from(s * 1_000).ok())
}

impl Default for Clock {
    fn default() -> Self {
        Self::start()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_back_as_they_are_written() {
        assert_eq!(unix_ms(1970, 1, 1, 0), Some(0));
        assert_eq!(unix_ms(1970, 1, 1, -1), None);
        assert_eq!(unix_ms(2000, 3, 1, -1), Some(951_868_799_000));
        for (year, month, day) in [(1999, 12, 31), (2000, 2, 29), (2026, 11, 22), (2100, 3, 1), (2400, 2, 29)] {
            let ms = unix_ms(year, month, day, 3_723).unwrap();
            assert_eq!(rfc3339(ms / 1000), format!("{year:04}-{month:02}-{day:02}T01:02:03Z"));
        }
        assert!(unix_ms(2000, 13, 1, 0).is_none() && unix_ms(2000, 1, 0, 0).is_none());
    }

    #[test]
    fn copies_share_one_start_and_never_go_back() {
        let clock = Clock::start();
        let copy = clock;
        let first = clock.now();
        let second = copy.now();
        assert!(second.mono >= first.mono);
        assert!(first.wall_ms > 1_600_000_000_000);
        assert!(clock.instant(second.mono) <= Instant::now());
    }

    #[test]
    fn the_calendar_is_right_at_its_corners() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
            assert_eq!(parse_rfc3339(text), Some(seconds * 1000));
        }
        assert_eq!(rfc3339_ms(951_782_399_007), "2000-02-28T23:59:59.007Z");
    }

    #[test]
    fn times_are_read_with_fractions_and_offsets_and_nothing_else() {
        let noon = Some(951_825_600_000);
        for text in [
            "2000-02-29T12:00:00Z",
            "2000-02-29t12:00:00.000z",
            "2000-02-29 14:30:00+02:30",
            "2000-02-28T23:00:00-13:00",
        ] {
            assert_eq!(parse_rfc3339(text), noon, "{text}");
        }
        assert_eq!(parse_rfc3339("2000-02-29"), Some(951_782_400_000));
        assert_eq!(parse_rfc3339("2000-02-29T12:00:00.12345Z"), Some(951_825_600_123));
        for text in [
            "",
            "T",
            "1999-02-29",
            "1969-12-31",
            "2000-13-01",
            "2000-00-01",
            "2000-01-00",
            "2000-1-01",
            "2000-02-29T12:00:00",
            "2000-02-29T24:00:00Z",
            "2000-02-29T12:00Z",
            "2000-02-29T12:00:00.Z",
            "2000-02-29T12:00:00Zx",
            "2000-02-29T12:00:00+2:00",
            "2000-02-29T12:00:00+24:00",
            "1970-01-01T00:00:00+01:00",
            "2000-02-29T12:00:00é",
            "٢٠٠٠-02-29",
            "+000-02-29",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
