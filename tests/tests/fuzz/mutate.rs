//! Inputs from samples, by chance that can be repeated.

use tagtrail_tests::chance;

/// What is tried, the same for the same seed and name.
pub(crate) struct Chance(chance::Chance);

impl Chance {
    pub(crate) fn of(seed: u64, name: &str) -> Self {
        Self(chance::Chance(seed ^ hash(name.as_bytes())))
    }

    fn next(&mut self) -> u64 {
        self.0.next_number()
    }

    /// Less than `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn of_these<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len())]
    }

    /// A part of so many bytes; short ones are more frequent.
    fn part(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = (length - start).min(1 << self.below(12));
        start..start + self.below(most + 1)
    }
}

/// FNV-1a.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}

/// What breaks parsers of text and of bytes.
const TOKENS: &[&[u8]] = &[
    b"",
    b"\0",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b"\"",
    b"'",
    b"\\",
    b"`",
    b"{",
    b"}",
    b"[",
    b"]",
    b"(",
    b")",
    b"<",
    b">",
    b",",
    b":",
    b";",
    b"/",
    b"@",
    b"=",
    b"!=",
    b"==",
    b"%",
    b"#",
    b"&",
    b"*",
    b"-",
    b"--",
    b"---",
    b"+",
    b".",
    b"..",
    b"|",
    b"?",
    b"~",
    b"{{",
    b"}}",
    b"{{end}}",
    b"{{range .a}}",
    b"{{if .}}",
    b"[*]",
    b"[?(@.a",
    b"null",
    b"true",
    b"0",
    b"-0",
    b"1e999",
    b"-1",
    b"0x10",
    b"18446744073709551615",
    b"18446744073709551616",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"4294967296",
    b"NaN",
    b"9999-12-31T23:59:59Z",
    b"0000-01-01T00:00:00Z",
    b"2016-12-31T23:59:60Z",
    b"-0001-01-01",
    b"1d",
    b"99999999999999d",
    b"sha256:",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\xe2\x80\x8b",
    b"\xf0\x9f\x98\x80",
    b"\\u0000",
    b"\\ud800",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
];

/// One input.
pub(crate) fn input(chance: &mut Chance, samples: &[Vec<u8>], most: usize) -> Vec<u8> {
    let mut bytes = samples[chance.below(samples.len())].clone();
    for _ in 0..=chance.below(6) {
        change(chance, &mut bytes, samples);
    }
    bytes.truncate(most);
    bytes
}

fn change(chance: &mut Chance, bytes: &mut Vec<u8>, samples: &[Vec<u8>]) {
    let part = chance.part(bytes.len());
    match chance.below(14) {
        0 if !bytes.is_empty() => {
            let at = chance.below(bytes.len());
            bytes[at] ^= 1 << chance.below(8);
        }
        1 if !bytes.is_empty() => {
            let at = chance.below(bytes.len());
            bytes[at] = chance.of_these(&[0, 1, 0x7F, 0x80, 0xFF, b' ', b'"', b'0', b'9', b'a', b'{', b'[']);
        }
        2 if !bytes.is_empty() => {
            let at = chance.below(bytes.len());
            bytes[at] = bytes[at].wrapping_add(chance.of_these(&[1, 2, 0xFF, 0xFE]));
        }
        3 => drop(bytes.drain(part)),
        4 => bytes.truncate(part.start),
        5 | 6 => {
            let token = chance.of_these(TOKENS);
            bytes.splice(part.start..part.start, token.iter().copied());
        }
        7 => {
            let token = chance.of_these(TOKENS);
            bytes.splice(part, token.iter().copied());
        }
        8 => {
            let copy = bytes[part].to_vec();
            let at = chance.below(bytes.len() + 1);
            bytes.splice(at..at, copy);
        }
        // Many of the same, one within or behind the other.
        9 => {
            let copy = bytes[part.clone()].to_vec();
            let times = 1 << chance.below(if copy.len() < 16 { 12 } else { 5 });
            bytes.splice(part, copy.repeat(times));
        }
        10 => {
            let other = &samples[chance.below(samples.len())];
            let theirs = chance.part(other.len());
            bytes.splice(part, other[theirs].iter().copied());
        }
        // The beginning of one, the end of another.
        11 => {
            let other = &samples[chance.below(samples.len())];
            let theirs = chance.below(other.len() + 1);
            bytes.truncate(part.start);
            bytes.extend_from_slice(&other[theirs..]);
        }
        // A number is another.
        12 => {
            let is_digit = |byte: &u8| byte.is_ascii_digit();
            if let Some(start) = bytes[part.start..].iter().position(is_digit).map(|at| at + part.start) {
                let end = bytes[start..]
                    .iter()
                    .position(|byte| !is_digit(byte))
                    .map_or(bytes.len(), |at| at + start);
                let number = chance.next() >> chance.below(64);
                bytes.splice(start..end, number.to_string().into_bytes());
            }
        }
        _ => {
            let random: Vec<u8> = (0..chance.below(9)).map(|_| chance.next() as u8).collect();
            bytes.splice(part, random);
        }
    }
}
