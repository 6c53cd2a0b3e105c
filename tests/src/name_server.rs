//! A small name server inside a scene's network. It says what the test wants said.

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::thread;

use simple_dns::rdata::{A, AAAA, CNAME, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};

use crate::scene::Scene;

/// Names with what each leads to: an address, or another name.
pub type Zone = &'static [(&'static str, &'static str)];

impl Scene {
    /// Answers questions on port 53 of an address, for as long as the test runs, by datagram and by stream.
    pub fn name_server(&self, address: &str, zone: Zone) {
        let endpoint = format!("{address}:53");
        let (socket, listener) = (self.listen_udp(&endpoint), self.listen_tcp(&endpoint));
        thread::spawn(move || serve(&socket, zone));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // What goes wrong is the visitor's leaving.
                thread::spawn(move || serve_stream(stream, zone));
            }
        });
    }
}

fn serve(socket: &UdpSocket, zone: Zone) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        if let Ok(question) = Packet::parse(&buffer[..length]) {
            let _ = socket.send_to(&reply(question, zone), client);
        }
    }
}

/// Each message stands behind its length (RFC 1035, section 4.2.2).
fn serve_stream(mut stream: TcpStream, zone: Zone) -> io::Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut message = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut message)?;
        let question = Packet::parse(&message).map_err(io::Error::other)?;
        let reply = reply(question, zone);
        let length = u16::try_from(reply.len()).expect("a short answer");
        stream.write_all(&[&length.to_be_bytes()[..], &reply].concat())?;
    }
}

fn reply(question: Packet<'_>, zone: Zone) -> Vec<u8> {
    let mut reply = Packet::new_reply(question.id());
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    reply.questions.clone_from(&question.questions);
    let asked = question.questions.first().expect("resolvers ask something");
    let mut name = asked.qname.to_string().to_ascii_lowercase();
    let mut known = false;
    while let Some((owner, value)) = zone.iter().find(|(owner, _)| *owner == name) {
        known = true;
        let data = match value.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) if asked.qtype == QTYPE::TYPE(TYPE::A) => {
                RData::A(A { address: address.to_bits() })
            }
            Ok(IpAddr::V6(address)) if asked.qtype == QTYPE::TYPE(TYPE::AAAA) => {
                RData::AAAA(AAAA { address: address.to_bits() })
            }
            Ok(_) => break,
            Err(_) => RData::CNAME(CNAME(Name::new_unchecked(value))),
        };
        let alias = matches!(data, RData::CNAME(_));
        let owner = Name::new_unchecked(owner);
        reply.answers.push(ResourceRecord::new(owner, CLASS::IN, 60, data));
        if !alias {
            break;
        }
        name = (*value).to_owned();
    }
    if !known {
        *reply.rcode_mut() = RCODE::NameError;
    }
    reply.build_bytes_vec_compressed().expect("a short answer")
}
