//! The first message of a TLS client: which name it asks for. The client's own claim, of which nothing
//! follows but what it says.

use tls_parser::{
    SNIType, TlsExtension, parse_tls_client_hello_extension, parse_tls_handshake_client_hello,
};

use crate::event::decode::text;

/// Longest name that is shown (RFC 1035, section 2.3.4).
const NAME: usize = 255;
/// Most extensions and protocols that are looked at; ordinary clients send about twenty and two.
const EXTENSIONS: usize = 64;
/// Bytes before the client hello: the record's header, type and length (RFC 8446, sections 5.1 and 4).
const HEADERS: usize = 9;

/// What a client says first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The name it asks for, in lower case.
    pub server_name: Option<String>,
    /// The protocols it offers to speak (ALPN).
    pub alpn: Vec<String>,
    /// The name is encrypted, and the one shown stands for many (Encrypted Client Hello). Clients also send
    /// this without meaning it.
    pub encrypted_hello: bool,
}

/// Extension `encrypted_client_hello`, RFC 9849.
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// Reads the message from the first bytes of a connection; `None` when they are something else. What is missing
/// at the end is missing in the result.
#[must_use]
pub fn parse(data: &[u8]) -> Option<Hello> {
    let (_, contents) = parse_tls_handshake_client_hello(data.get(HEADERS..)?).ok()?;
    let mut hello = Hello::default();
    let mut rest = contents.ext.unwrap_or_default();
    for _ in 0..EXTENSIONS {
        if rest.is_empty() {
            break;
        }
        let kind = rest.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
        hello.encrypted_hello |= kind == Some(ENCRYPTED_CLIENT_HELLO);
        let Ok((after, extension)) = parse_tls_client_hello_extension(rest) else {
            // One that cannot be read is passed over by its length.
            let length = rest.get(2..4).and_then(|bytes| bytes.try_into().ok());
            let Some(length) = length.map(u16::from_be_bytes) else { break };
            rest = rest.get(4 + usize::from(length)..).unwrap_or_default();
            continue;
        };
        rest = after;
        match extension {
            TlsExtension::SNI(names) => {
                hello.server_name = names
                    .iter()
                    .find(|(kind, _)| *kind == SNIType::HostName)
                    .map(|(_, name)| shown(name));
            }
            TlsExtension::ALPN(protocols) => {
                hello.alpn = protocols.iter().take(EXTENSIONS).map(|name| text(name)).collect();
            }
            _ => {}
        }
    }
    Some(hello)
}

fn shown(name: &[u8]) -> String {
    let name = text(name.get(..NAME).unwrap_or(name));
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from real clients, see `fixtures/names/README.md`.
    const FIXTURES: &[(&str, &[u8], &[&str])] = &[
        ("curl", include_bytes!("../../fixtures/names/hello-curl.bin"), &["h2", "http/1.1"]),
        ("openssl", include_bytes!("../../fixtures/names/hello-openssl.bin"), &[]),
        ("python", include_bytes!("../../fixtures/names/hello-python.bin"), &[]),
        ("node", include_bytes!("../../fixtures/names/hello-node.bin"), &[]),
    ];

    #[test]
    fn real_clients_name_the_server() {
        for (client, bytes, alpn) in FIXTURES {
            let hello = parse(bytes).unwrap();
            assert_eq!(hello.server_name.as_deref(), Some("api.example.test"), "{client}");
            assert_eq!(hello.alpn, *alpn, "{client}");
        }
    }

    #[test]
    fn a_cut_message_never_panics_and_never_invents_a_name() {
        for (client, bytes, _) in FIXTURES {
            for end in 0..bytes.len() {
                let name = parse(&bytes[..end]).and_then(|hello| hello.server_name);
                assert!(name.is_none() || name.as_deref() == Some("api.example.test"), "{client}");
            }
        }
    }

    #[test]
    fn spoilt_messages_never_panic() {
        let (_, bytes, _) = FIXTURES[0];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..5_000 {
            let mut spoilt = bytes.to_vec();
            for _ in 0..4 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = usize::try_from(state >> 33).unwrap() % spoilt.len();
                spoilt[at] = (state >> 17).to_le_bytes()[0];
            }
            if let Some(hello) = parse(&spoilt) {
                assert!(hello.server_name.is_none_or(|name| name.len() <= 4 * NAME));
                assert!(hello.alpn.len() <= EXTENSIONS);
            }
        }
    }
}
