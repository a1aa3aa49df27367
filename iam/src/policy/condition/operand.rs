//! Values of conditions that are not texts: numbers, dates, addresses.

use std::cmp::Ordering;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::{Date, Month, PrimitiveDateTime, Time, UtcOffset};

const NANOSECONDS_PER_SECOND: i128 = 1_000_000_000;

/// How a value must stand to the policy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum Relation {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Relation {
    /// The relation by the end of an operator's name in lower case, and whether the operator is its negation.
    pub(super) fn parse(name: &str) -> Option<(bool, Self)> {
        match name {
            "equals" => Some((false, Self::Equal)),
            "notequals" => Some((true, Self::Equal)),
            "lessthan" => Some((false, Self::Less)),
            "lessthanequals" => Some((false, Self::LessOrEqual)),
            "greaterthan" => Some((false, Self::Greater)),
            "greaterthanequals" => Some((false, Self::GreaterOrEqual)),
            _ => None,
        }
    }

    pub(super) fn holds(self, order: Option<Ordering>) -> bool {
        order.is_some_and(|order| match self {
            Self::Equal => order.is_eq(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        })
    }
}

/// A decimal number, without the names that floating point has for what is none.
pub(super) fn parse_number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E'));
    text.parse().ok().filter(|number: &f64| plain && number.is_finite())
}

pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

pub(super) fn parse_binary(text: &str) -> Option<Box<[u8]>> {
    STANDARD.decode(text).ok().map(Vec::into_boxed_slice)
}

/// Nanoseconds since 1970 of a date as W3C's profile of ISO 8601 writes it, or of seconds since 1970.
pub(super) fn parse_date(text: &str) -> Option<i128> {
    // Four digits are a year.
    if text.len() != 4
        && let Some(seconds) = parse_epoch(text)
    {
        return Some(seconds);
    }
    let (date, time) = text.split_once(['T', 't']).map_or((text, None), |(date, time)| (date, Some(time)));
    let mut numbers = date.splitn(3, '-');
    let year = digits(numbers.next()?, 4)?;
    let month = numbers.next().map_or(Some(1), |month| digits(month, 2))?;
    let has_day = date.len() == "2012-10-17".len();
    let day = numbers.next().map_or(Some(1), |day| digits(day, 2))?;
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?).ok()?;
    let (time, offset) = match time {
        None => (Time::MIDNIGHT, UtcOffset::UTC),
        Some(time) if has_day => parse_time(time)?,
        Some(_) => return None,
    };
    Some(PrimitiveDateTime::new(date, time).assume_offset(offset).unix_timestamp_nanos())
}

/// Seconds since 1970, with at most nine decimals.
fn parse_epoch(text: &str) -> Option<i128> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(seconds) || !all_digits(fraction) || seconds.len() > 12 {
        return None;
    }
    Some(seconds.parse::<i128>().ok()? * NANOSECONDS_PER_SECOND + i128::from(parse_fraction(fraction)?))
}

/// `hh:mm`, `hh:mm:ss` or `hh:mm:ss.s`, and `Z`, `+hh:mm` or `-hh:mm`.
fn parse_time(text: &str) -> Option<(Time, UtcOffset)> {
    let zone_start = text.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = text.split_at(zone_start);
    let offset = match zone {
        "Z" | "z" => UtcOffset::UTC,
        _ => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let part = |text| digits(text, 2).and_then(|number| i8::try_from(number).ok()).map(|number| sign * number);
            UtcOffset::from_hms(part(hours)?, part(minutes)?, 0).ok()?
        }
    };
    let (clock, fraction) = clock.split_once('.').map_or((clock, None), |(clock, fraction)| (clock, Some(fraction)));
    let mut numbers = clock.splitn(3, ':');
    let mut next = || numbers.next().map(|text| digits(text, 2).and_then(|number| u8::try_from(number).ok()));
    let (hour, minute) = (next()??, next()??);
    let second = next();
    let nanosecond = match (second, fraction) {
        (None, Some(_)) => return None,
        (_, fraction) => fraction.map_or(Some(0), parse_fraction)?,
    };
    Some((Time::from_hms_nano(hour, minute, second.unwrap_or(Some(0))?, nanosecond).ok()?, offset))
}

/// The nanoseconds of the digits after a decimal point.
fn parse_fraction(text: &str) -> Option<u32> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    digits(&format!("{text:0<9}"), 9)
}

fn digits(text: &str, count: usize) -> Option<u32> {
    let right = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    right.then(|| text.parse().ok()).flatten()
}

/// The address of a text; of an IPv4 address in IPv6's clothes, the IPv4 address.
pub(super) fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// A range of addresses, in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) struct Network {
    pub(in crate::policy) address: IpAddr,
    pub(in crate::policy) prefix_bits: u32,
}

impl Network {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            None => bits_max,
            Some(bits) if bits.len() <= 3 && bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
        };
        (prefix_bits <= bits_max).then_some(Self { address, prefix_bits })
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = u32::from(network) ^ u32::from(address);
                differing.checked_shr(32 - self.prefix_bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = u128::from(network) ^ u128::from(address);
                differing.checked_shr(128 - self.prefix_bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn dates_are_what_w3c_writes_or_seconds() {
        let same =
            ["2020-04-01T00:00:00Z", "2020-04-01", "2020-04", "2020-04-01T02:30+02:30", "1585699200", "1585699200.0"];
        for text in same {
            assert_eq!(parse_date(text), Some(1_585_699_200 * NANOSECONDS_PER_SECOND), "{text}");
        }
        assert_eq!(parse_date("2020-04-01T00:00:00.25Z").unwrap() % NANOSECONDS_PER_SECOND, 250_000_000);
        assert_eq!(parse_date("2020"), parse_date("2020-01-01"));
        for text in [
            "",
            "2020-13",
            "2020-02-30",
            "2020-04-01T00:00",
            "2020-4-1",
            "2020-04T00:00Z",
            "now",
            "-5",
            "2020-04-01T24:00Z",
        ] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }

    #[test]
    fn a_network_holds_the_addresses_of_its_prefix() {
        let contains =
            |network: &str, address: &str| Network::parse(network).unwrap().contains(parse_address(address).unwrap());
        assert!(contains("203.0.113.0/24", "203.0.113.255"));
        assert!(contains("203.0.113.77/24", "203.0.113.1"));
        assert!(contains("0.0.0.0/0", "255.1.2.3"));
        assert!(contains("2001:db8:1234::/48", "2001:DB8:1234:5678::1"));
        assert!(contains("::/0", "2001:db8::1"));
        assert!(contains("203.0.113.7", "::ffff:203.0.113.7"));
        assert!(!contains("203.0.113.7", "203.0.113.6"));
        assert!(!contains("::/0", "203.0.113.6"));
        for text in ["", "203.0.113.0/33", "203.0.113/24", "::/129", "1.2.3.4/", "1.2.3.4/+1"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_decimal_and_finite() {
        assert_eq!((parse_number("10"), parse_number("-1.5")), (Some(10.0), Some(-1.5)));
        for text in ["", "nan", "inf", "1e999", "0x10", "1 "] {
            assert_eq!(parse_number(text), None, "{text}");
        }
    }
}
