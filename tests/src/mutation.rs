//! Mutations of signed requests. Each changes one thing that the signature covers, by a byte or by a field, so the server
//! must refuse every one of them. What means the same in spite of the change (the case of a header's name, blanks that the
//! canonical form leaves out, the order of a query) is recognized and not made.

use std::collections::BTreeMap;

use crate::client::Call;
use crate::random::Random;
use crate::sigv4::UNSIGNED_PAYLOAD;
use crate::wire::Wire;

/// How a request is signed, which decides what of it means the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Covers the whole query, every header that the harness sends, and the body if it is hashed.
    Four,
    /// Covers neither the host nor the body.
    Two,
}

/// A valid request and what is known of its signature.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The request.
    pub wire: Wire,
    version: Version,
    covers_body: bool,
    /// The pieces of a chunked body; none if the body is not chunked.
    pieces: Vec<Vec<u8>>,
}

/// What of a request the signature covers, as a server reads it.
#[derive(PartialEq)]
struct Meaning {
    method: String,
    path: Vec<u8>,
    query: Vec<(Vec<u8>, Vec<u8>)>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// Headers that a stranger would like to add.
const ADDED_HEADERS: [(&str, &str); 7] = [
    ("x-amz-copy-source", "/b/k"),
    ("x-amz-meta-injected", "1"),
    ("x-amz-date", "20260101T000000Z"),
    ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
    ("x-amz-storage-class", "STANDARD_IA"),
    ("x-amz-metadata-directive", "REPLACE"),
    ("x-amz-security-token", "token"),
];

/// Parameters that a stranger would like to add.
const ADDED_PARAMETERS: [&str; 6] =
    ["injected=1", "uploads", "delete", "versionId=null", "response-content-type=text%2Fhtml", "x-id=PutObject"];

/// Fields of which one value is as well formed as the other.
const EXCHANGED: [(&str, &str); 14] = [
    ("us-east-1", "us-west-2"),
    ("/s3/", "/sts/"),
    ("cairn-test-access", "cairn-other-access"),
    ("Expires=600", "Expires=604800"),
    ("Expires=", "Expires=1"),
    ("host;", ""),
    ("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
    ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "UNSIGNED-PAYLOAD"),
    ("-PAYLOAD-TRAILER", "-PAYLOAD"),
    ("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 "),
    ("HMAC-SHA256&", "HMAC-SHA1&"),
    ("target", "tarket"),
    ("key", "kex"),
    ("x-amz-checksum-crc32", "x-amz-checksum-crc32c"),
];

const METHODS: [&str; 8] = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "put"];

impl Signed {
    /// A request of version 4 with a body that the signature covers.
    pub fn v4(call: Call) -> Signed {
        let (mut wire, pieces) = call.build_pieces();
        if !pieces.is_empty() {
            wire = with_body(&wire, pieces.concat());
        }
        Signed { wire, version: Version::Four, covers_body: true, pieces }
    }

    /// A request of version 4 whose body is not covered.
    pub fn v4_without_body(call: Call) -> Signed {
        Signed { covers_body: false, ..Signed::v4(call) }
    }

    /// A request of version 2.
    pub fn v2(call: Call) -> Signed {
        Signed { wire: call.build(), version: Version::Two, covers_body: false, pieces: vec![] }
    }

    /// Another request, which the signature does not cover; `None` if this one has nothing of the kind that was drawn, or
    /// if the outcome means the same.
    pub fn mutate(&self, random: &mut Random) -> Option<Wire> {
        let wire = &self.wire;
        let mutated = match random.below(if self.covers_body && !wire.body.is_empty() { 18 } else { 12 }) {
            0 | 1 => Wire { target: mutate_text(&wire.target, 1, random)?, ..wire.clone() },
            2..=4 => self.mutate_header_value(random)?,
            5 => self.mutate_header_name(random)?,
            6 => self.mutate_headers(random)?,
            7 => self.with_header(random.pick(&ADDED_HEADERS)),
            8 => Wire { method: random.pick(&METHODS).to_string(), ..wire.clone() },
            9 => Wire { target: mutate_query(&wire.target, random)?, ..wire.clone() },
            10 | 11 => self.exchange(random)?,
            _ if self.pieces.is_empty() => with_body(wire, mutate_bytes(&wire.body, random)),
            12..=15 => self.mutate_piece(random)?,
            _ => self.mutate_pieces(random)?,
        };
        (self.meaning(&mutated) != self.meaning(wire)).then_some(mutated)
    }

    /// The headers that the signature covers, by their places.
    fn covered_header(&self, random: &mut Random) -> Option<usize> {
        let first = usize::from(self.version == Version::Two);
        let count = self.wire.headers.len().checked_sub(first).filter(|&count| count > 0)?;
        Some(first + random.below(count))
    }

    fn mutate_header_value(&self, random: &mut Random) -> Option<Wire> {
        let at = self.covered_header(random)?;
        let mut mutated = self.wire.clone();
        mutated.headers[at].1 = mutate_text(&self.wire.headers[at].1, 0, random)?;
        Some(mutated)
    }

    fn mutate_header_name(&self, random: &mut Random) -> Option<Wire> {
        let at = self.covered_header(random)?;
        let mut mutated = self.wire.clone();
        let name = &self.wire.headers[at].0;
        let position = random.below(name.len());
        mutated.headers[at].0 = splice(name, position, 1, *random.pick(b"abcxyzABCXYZ019-_"));
        Some(mutated)
    }

    fn mutate_headers(&self, random: &mut Random) -> Option<Wire> {
        let (at, other) = (self.covered_header(random)?, self.covered_header(random)?);
        let mut mutated = self.wire.clone();
        match random.below(3) {
            0 => drop(mutated.headers.remove(at)),
            1 => mutated.headers.push(self.wire.headers[at].clone()),
            _ => {
                mutated.headers[at].1.clone_from(&self.wire.headers[other].1);
                mutated.headers[other].1.clone_from(&self.wire.headers[at].1);
            }
        }
        Some(mutated)
    }

    fn with_header(&self, (name, value): &(&str, &str)) -> Wire {
        let mut mutated = self.wire.clone();
        mutated.headers.push((name.to_string(), value.to_string()));
        mutated
    }

    fn exchange(&self, random: &mut Random) -> Option<Wire> {
        let (from, to) = random.pick(&EXCHANGED);
        let mut mutated = self.wire.clone();
        let in_headers = mutated.headers.iter_mut().skip(1).map(|(_, value)| value);
        let mut texts: Vec<&mut String> =
            in_headers.chain([&mut mutated.target]).filter(|text| text.contains(from)).collect();
        let at = random.below(texts.len().max(1));
        let text = texts.get_mut(at)?;
        **text = text.replacen(from, to, 1);
        Some(mutated)
    }

    /// Changes a byte of one chunk, or of the trailers.
    fn mutate_piece(&self, random: &mut Random) -> Option<Wire> {
        let mut pieces = self.pieces.clone();
        let at = random.below(pieces.len());
        pieces[at] = mutate_bytes(&pieces[at], random);
        self.with_pieces(&pieces)
    }

    /// Drops, repeats or exchanges whole chunks.
    fn mutate_pieces(&self, random: &mut Random) -> Option<Wire> {
        let mut pieces = self.pieces.clone();
        let (at, other) = (random.below(pieces.len()), random.below(pieces.len()));
        match random.below(4) {
            0 => drop(pieces.remove(at)),
            1 => pieces.insert(at, pieces[other].clone()),
            2 => pieces.truncate(at),
            _ => pieces.swap(at, other),
        }
        self.with_pieces(&pieces)
    }

    fn with_pieces(&self, pieces: &[Vec<u8>]) -> Option<Wire> {
        let differs = chunks_meaning(pieces) != chunks_meaning(&self.pieces);
        differs.then(|| with_body(&self.wire, pieces.concat()))
    }

    fn meaning(&self, wire: &Wire) -> Meaning {
        let (path, query) = wire.target.split_once('?').unwrap_or((&wire.target, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let mut query: Vec<(Vec<u8>, Vec<u8>)> = pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (percent_decode(&name.replace('+', " ")), percent_decode(&value.replace('+', " ")))
            })
            .collect();
        // An SDK's hint of the operation chooses nothing here.
        query.retain(|(name, _)| self.version == Version::Four || name != b"x-id");
        query.sort();
        let in_header = wire.headers.iter().any(|(name, _)| name == "authorization");
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &wire.headers {
            let name = name.to_ascii_lowercase();
            let value = match (self.version, name.as_str()) {
                (Version::Two, "host") => continue,
                (Version::Two, _) => value.trim().to_owned(),
                // What holds of a presigned URL may be said.
                (Version::Four, "x-amz-content-sha256") if value == UNSIGNED_PAYLOAD && !in_header => continue,
                (Version::Four, "authorization") => authorization_meaning(value),
                (Version::Four, _) => value.split_ascii_whitespace().collect::<Vec<_>>().join(" "),
            };
            // Values of one name are signed, and read, as one list.
            headers.entry(name).and_modify(|known| *known = format!("{known},{value}")).or_insert(value);
        }
        Meaning {
            method: wire.method.clone(),
            path: if self.version == Version::Two { path.into() } else { percent_decode(path) },
            query,
            headers,
            body: if self.covers_body { wire.body.to_vec() } else { vec![] },
        }
    }
}

/// The fields of an `Authorization` without the blanks between them.
fn authorization_meaning(value: &str) -> String {
    let (algorithm, fields) = value.trim().split_once(' ').unwrap_or((value, ""));
    let fields: Vec<&str> = fields.split(',').map(str::trim).collect();
    format!("{algorithm} {}", fields.join(","))
}

/// What the pieces of a chunked body say, without what readers may leave out: zeros before a size and what follows it,
/// blanks about a trailer's value, the case of digits and names, the line end of an end without trailers.
fn chunks_meaning(pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
    pieces.iter().map(|piece| chunk_meaning(piece)).filter(|meaning| !meaning.is_empty()).collect()
}

fn chunk_meaning(piece: &[u8]) -> Vec<u8> {
    if !piece.first().is_some_and(u8::is_ascii_hexdigit) {
        let lines = piece.split(|&byte| byte == b'\n').map(|line| String::from_utf8_lossy(line).into_owned());
        let trailers = lines.filter(|line| !line.trim().is_empty()).map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            format!("{}:{}\n", name.trim().to_ascii_lowercase(), value.trim())
        });
        return trailers.collect::<String>().into();
    }
    let line_bytes = piece.windows(2).position(|window| window == b"\r\n").unwrap_or(piece.len());
    let (line, rest) = piece.split_at(line_bytes);
    let line = String::from_utf8_lossy(line).to_ascii_lowercase();
    let (size, extension) = line.split_once(';').unwrap_or((&line, ""));
    let digits = size.find(|byte: char| !byte.is_ascii_hexdigit()).unwrap_or(size.len());
    let size = size[..digits].trim_start_matches('0');
    [size.as_bytes(), b";", extension.as_bytes(), rest].concat()
}

fn with_body(wire: &Wire, body: Vec<u8>) -> Wire {
    let content_length = Some(body.len() as u64);
    Wire { body: body.into(), content_length, ..wire.clone() }
}

/// Replaces, inserts or removes one byte. What is put in is no line break and no control character, which would make
/// another number of requests of it.
fn mutate_text(text: &str, from: usize, random: &mut Random) -> Option<String> {
    let position = from + random.below(text.len().checked_sub(from).filter(|&length| length > 0)?);
    // A number sign would end the target: what remains may be a sound request without a signature.
    let printable = Some(b' ' + random.below(95) as u8).filter(|&byte| byte != b'#')?;
    Some(match random.below(6) {
        0 => splice(text, position, 0, printable),
        1 => format!("{}{}", &text[..position], &text[position + 1..]),
        // Likelier to be well formed.
        2..=4 => splice(text, position, 1, *random.pick(b"abcxyzABCXYZ0189+/=-_&%")),
        _ => splice(text, position, 1, printable),
    })
}

/// `text`, which is ASCII, with `removed` bytes at `position` replaced by one.
fn splice(text: &str, position: usize, removed: usize, byte: u8) -> String {
    format!("{}{}{}", &text[..position], char::from(byte), &text[position + removed..])
}

fn mutate_bytes(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let position = random.below(bytes.len());
    let (before, after) = bytes.split_at(position);
    let byte = random.below(256) as u8;
    match random.below(8) {
        0 => [before, &[byte], after].concat(),
        1 => [before, &after[1..]].concat(),
        2 => before.to_vec(),
        3 => [before, &[after[0] ^ (1 << random.below(8))], &after[1..]].concat(),
        _ => [before, &[byte], &after[1..]].concat(),
    }
}

fn mutate_query(target: &str, random: &mut Random) -> Option<String> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    match random.below(4) {
        0 => pairs.push(*random.pick::<&str>(&ADDED_PARAMETERS)),
        _ if pairs.is_empty() => return None,
        1 => drop(pairs.remove(random.below(pairs.len()))),
        2 => pairs.push(pairs[random.below(pairs.len())]),
        _ => {
            let at = random.below(pairs.len());
            pairs[at] = pairs[at].split('=').next().unwrap_or_default();
        }
    }
    Some(format!("{path}?{}", pairs.join("&")))
}

fn percent_decode(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        match (byte, tail.get(..2).and_then(|digits| hex::decode(digits).ok())) {
            (b'%', Some(escaped)) => {
                decoded.extend(escaped);
                rest = &tail[2..];
            }
            _ => {
                decoded.push(byte);
                rest = tail;
            }
        }
    }
    decoded
}
