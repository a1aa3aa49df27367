//! Reverse proxies that are trusted to say who the client is: its address, whether it came over TLS, and by which host name.
//!
//! Only a connection from one of `proxies.trusted` is believed, and only in the headers that `proxies.headers` names, because a
//! proxy passes on the others as its client sent them: `X-Forwarded-For`, `-Proto` and `-Host`, or `Forwarded` (RFC 7239). Of
//! anybody else they mean nothing. Each proxy adds at the end what it saw, so they are read from there: the client is the first
//! that is no trusted proxy; what stands before it, it wrote itself. Where a proxy is to have said something and it cannot be
//! read, the request is refused: to go by the proxy's own address could let in whom a policy keeps out.
//!
//! The host that the client used takes the place of `Host`, before the bucket is read from it and before signatures are verified:
//! a signature covers the host as its maker saw it.

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::config::ForwardingHeaders;
use crate::listener::ConnectionInfo;
use crate::s3::error::Failure;
use crate::s3::headers::text_of;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Trusted proxies that a request can come through.
const HOPS_MAX: usize = 16;

/// The longest name of a host, and its port.
const HOST_BYTES_MAX: usize = 261;

/// Whom to believe, and by which headers.
#[derive(Clone, Debug)]
pub struct Proxies {
    /// The addresses of the proxies.
    pub trusted: Vec<IpNet>,
    /// What they set.
    pub headers: ForwardingHeaders,
}

/// What was said of the client.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    address: Option<SocketAddr>,
    proto: Option<String>,
    host: Option<String>,
}

impl Proxies {
    /// How a request came to the first of the trusted proxies, if it came through them; else `connection` as it is. The host is
    /// put into the headers.
    ///
    /// # Errors
    /// `InvalidRequest` for what cannot be read.
    pub fn seen(&self, connection: ConnectionInfo, headers: &mut HeaderMap) -> Result<ConnectionInfo, Failure> {
        if !self.trusts(connection.remote.ip()) {
            return Ok(connection);
        }
        let said = match self.headers {
            ForwardingHeaders::XForwarded => self.of_x_forwarded(headers),
            ForwardingHeaders::Forwarded => self.of_forwarded(headers),
        };
        let said = said.ok_or_else(unreadable)?;
        if let Some(host) = &said.host {
            headers.insert(HOST, host_value(host).ok_or_else(unreadable)?);
        }
        if said.address.is_none() && said.proto.is_none() {
            return Ok(connection);
        }
        Ok(ConnectionInfo {
            remote: said.address.unwrap_or(connection.remote),
            // Of a client about which nothing is said it is not known to be encrypted, whatever this connection is.
            secure: said.proto.map_or(Some(false), |proto| is_secure(&proto)).ok_or_else(unreadable)?,
            tls_version: None,
        })
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }

    /// None: it cannot be read.
    fn of_x_forwarded(&self, headers: &HeaderMap) -> Option<Said> {
        let (addresses, protos) = (list(headers, &X_FORWARDED_FOR), list(headers, &X_FORWARDED_PROTO));
        let (depth, address) = self.client(addresses.iter().rev().map(|text| Some(text.as_str())))?;
        let hosts = list(headers, &X_FORWARDED_HOST);
        Some(Said { address, proto: at_depth(&protos, depth)?, host: at_depth(&hosts, depth)? })
    }

    /// None: it cannot be read.
    fn of_forwarded(&self, headers: &HeaderMap) -> Option<Said> {
        let mut elements = Vec::new();
        for line in headers.get_all(FORWARDED) {
            elements.extend(forwarded_elements(&text_of(line))?);
        }
        let named =
            |element: &Element, name| element.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let froms: Vec<Option<String>> = elements.iter().map(|element| named(element, "for")).collect();
        let (depth, address) = self.client(froms.iter().rev().map(Option::as_deref))?;
        let Some(element) = elements.iter().rev().nth(depth) else { return Some(Said::default()) };
        Some(Said { address, proto: named(element, "proto"), host: named(element, "host") })
    }

    /// Whom the nearest proxy saw, or, if that is a trusted proxy, whom that one saw, and so on; and how far away it is. An
    /// address that is missing ends the search. None: one cannot be read, or there are too many.
    fn client<'n>(&self, nodes: impl Iterator<Item = Option<&'n str>>) -> Option<(usize, Option<SocketAddr>)> {
        let mut client = (0, None);
        for (depth, node) in nodes.enumerate() {
            let Some(node) = node else { return Some((depth, client.1)) };
            let address = address_of(node).filter(|_| depth < HOPS_MAX)?;
            client = (depth, Some(address));
            if !self.trusts(address.ip()) {
                break;
            }
        }
        Some(client)
    }
}

fn unreadable() -> Failure {
    Failure::invalid_request("What the proxy in front of this server says of the client cannot be read.")
}

/// The values of a list, over all of a header's lines.
fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).iter().map(text_of).collect::<Vec<_>>().join(",");
    lines.split(',').map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned).collect()
}

/// The value that belongs to a place in the list of addresses, counted from the end: proxies either add to it as they do to that
/// list, or have one value for the client. The outer None: neither is the case.
fn at_depth(values: &[String], depth: usize) -> Option<Option<String>> {
    match values {
        [] => Some(None),
        [one] => Some(Some(one.clone())),
        values => values.iter().rev().nth(depth).map(|value| Some(value.clone())),
    }
}

/// An address, with a port or without; in brackets or not.
fn address_of(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().map(|address: IpAddr| SocketAddr::new(address, 0)).or_else(|_| text.parse());
    address.ok().map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// None: it is no scheme of HTTP's.
fn is_secure(proto: &str) -> Option<bool> {
    match proto.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(true),
        "http" | "ws" => Some(false),
        _ => None,
    }
}

fn host_value(text: &str) -> Option<HeaderValue> {
    let of_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let is_host = (1..=HOST_BYTES_MAX).contains(&text.len()) && text.bytes().all(of_host);
    HeaderValue::from_str(text).ok().filter(|_| is_host)
}

/// Names, in lower case, and values.
type Element = Vec<(String, String)>;

/// The elements of one line: `for=192.0.2.43;proto=https, for="[2001:db8::1]:4711"` (RFC 7239, 4). None: it is malformed, and
/// where one element ends and the next begins is not sure.
fn forwarded_elements(line: &str) -> Option<Vec<Element>> {
    let (mut elements, mut rest) = (vec![Element::new()], line.trim());
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(',') {
            elements.push(Element::new());
            rest = after.trim_start();
            continue;
        }
        let element = elements.last_mut()?;
        let (name, after) = rest.split_once('=')?;
        let (value, after) = value_of(after)?;
        let name = name.to_ascii_lowercase();
        if !is_token(&name) || element.iter().any(|(known, _)| *known == name) {
            return None;
        }
        element.push((name, value));
        rest = after.trim_start();
        rest = match rest.strip_prefix(';') {
            Some(after) => after.trim_start(),
            None if rest.is_empty() || rest.starts_with(',') => rest,
            None => return None,
        };
    }
    elements.retain(|element| !element.is_empty());
    Some(elements)
}

/// A token or a quoted string, and what follows it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find([',', ';', ' ', '\t']).unwrap_or(text.len());
        let (token, rest) = text.split_at(end);
        return is_token(token).then(|| (token.to_owned(), rest));
    };
    let mut value = String::new();
    loop {
        let character = rest.chars().next()?;
        rest = &rest[character.len_utf8()..];
        match character {
            '"' => return Some((value, rest)),
            '\\' => {
                let escaped = rest.chars().next()?;
                rest = &rest[escaped.len_utf8()..];
                value.push(escaped);
            }
            character => value.push(character),
        }
    }
}

/// RFC 9110, 5.6.2; with what an address and a port have besides, which many proxies do not quote.
fn is_token(text: &str) -> bool {
    let of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(of_token)
}

#[cfg(test)]
mod tests;
