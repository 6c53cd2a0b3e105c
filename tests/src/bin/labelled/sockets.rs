//! Every way to use a socket.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr;

use crate::system::{call, fd, open};

/// Sockets of families that are told when they are made.
pub fn of_rare_families() -> io::Result<String> {
    let socket = |family: i32, kind: i32, protocol: i32| {
        let arguments = [family, kind, protocol].map(|number| number.cast_unsigned() as usize);
        open(libc::SYS_socket, &arguments)
    };
    let netlink = socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
    // `struct sockaddr_nl`: the family, and neither process nor groups.
    let anybody = [libc::AF_NETLINK as u32, 0, 0];
    call(libc::SYS_bind, &[fd(&netlink), anybody.as_ptr() as usize, mem::size_of_val(&anybody)])?;
    // A kernel may have neither.
    drop(socket(libc::AF_PACKET, libc::SOCK_RAW, i32::from(3_u16.to_be())));
    drop(socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0));
    Ok("made".into())
}

/// bind(2), listen(2), accept(2) and accept4(2), with visits of its own.
pub fn serve(path: &str) -> io::Result<String> {
    for (number, port) in [(libc::SYS_accept, 9301), (libc::SYS_accept4, 9302)] {
        let listener = stream(port)?;
        call(libc::SYS_listen, &[fd(&listener), 4])?;
        let visitor = stream(port + 10)?;
        connect(&visitor, port)?;
        drop(open(number, &[fd(&listener), 0, 0, 0])?);
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    let visitor = UnixStream::connect(path)?;
    drop(open(libc::SYS_accept4, &[fd(&listener), 0, 0, 0])?);
    drop(visitor);
    Ok("served".into())
}

fn local(port: u16) -> libc::sockaddr_in {
    address(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

fn address(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: u16::try_from(libc::AF_INET).expect("a small number"),
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

/// A TCP socket at a port of this machine. It leaves nothing behind when it is closed: who plays again finds the
/// port free.
fn stream(port: u16) -> io::Result<std::os::fd::OwnedFd> {
    let kind = [libc::AF_INET, libc::SOCK_STREAM, 0].map(|number| number.cast_unsigned() as usize);
    let socket = open(libc::SYS_socket, &kind)?;
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    let (level, option) = (libc::SOL_SOCKET as usize, libc::SO_LINGER as usize);
    let length = size_of::<libc::linger>();
    call(
        libc::SYS_setsockopt,
        &[fd(&socket), level, option, ptr::from_ref(&at_once) as usize, length],
    )?;
    let own = local(port);
    call(libc::SYS_bind, &[fd(&socket), ptr::from_ref(&own) as usize, size_of_val(&own)])?;
    Ok(socket)
}

fn connect(socket: &impl AsRawFd, port: u16) -> io::Result<()> {
    let other = local(port);
    call(libc::SYS_connect, &[fd(socket), ptr::from_ref(&other) as usize, size_of_val(&other)])
        .map(drop)
}

/// sendto(2), sendmsg(2) and sendmmsg(2), each to an address.
pub fn send_each_way(to: &str) -> io::Result<String> {
    let to: SocketAddrV4 = to.parse().map_err(io::Error::other)?;
    let mut name = address(to);
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.send_to(b"1", to)?;
    let text = *b"2";
    let mut row = libc::iovec { iov_base: text.as_ptr().cast_mut().cast(), iov_len: 1 };
    // SAFETY: zeroes are a valid `struct msghdr`.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen =
        libc::socklen_t::try_from(size_of_val(&name)).map_err(io::Error::other)?;
    message.msg_iov = &raw mut row;
    message.msg_iovlen = 1;
    call(libc::SYS_sendmsg, &[fd(&socket), ptr::from_ref(&message) as usize, 0])?;
    let one = libc::mmsghdr { msg_hdr: message, msg_len: 0 };
    let mut two = [one, one];
    call(libc::SYS_sendmmsg, &[fd(&socket), two.as_mut_ptr() as usize, 2, 0])?;
    Ok("sent".into())
}

/// Asks a name server for a name, and says the name to who is there by TLS.
pub fn ask_for_name(server: &str, web: &str) -> io::Result<String> {
    /// A question for the address of `www.example.test`.
    const QUESTION: &[u8] =
        b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x04test\0\0\x01\0\x01";

    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(server)?;
    socket.send(QUESTION)?;
    let mut answer = [0; 512];
    socket.recv(&mut answer)?;
    let mut stream = TcpStream::connect(web)?;
    io::Write::write_all(&mut stream, &client_hello(b"www.example.test"))?;
    // They dismiss the visitor at once.
    let _ = io::Read::read(&mut stream, &mut answer);
    Ok("asked".into())
}

/// The first message of a TLS client that asks for a name (RFC 8446, 4.1.2; RFC 6066, 3).
fn client_hello(name: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8], more: usize| {
        u16::try_from(bytes.len() + more).expect("a short name").to_be_bytes()
    };
    let mut extension = Vec::new();
    extension.extend([0, 0]);
    extension.extend(length(name, 5));
    extension.extend(length(name, 3));
    extension.push(0);
    extension.extend(length(name, 0));
    extension.extend(name);
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    // No session, one cipher suite, no compression.
    hello.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    hello.extend(length(&extension, 0));
    hello.extend(&extension);
    let mut message = vec![22, 3, 1];
    message.extend(length(&hello, 4));
    message.extend([1, 0]);
    message.extend(length(&hello, 0));
    message.extend(&hello);
    message
}
