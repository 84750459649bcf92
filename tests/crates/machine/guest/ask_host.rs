//! Runs in the guest: sends one frame to the relay of the host's services, as the engine would, and prints the answer's.
//! Built by the test for itself, static and without crates, since the machine has nothing that speaks to unix sockets.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

fn main() -> std::io::Result<()> {
    let request = std::env::args().nth(1).expect("usage: ask_host JSON");
    let mut stream = UnixStream::connect("/run/berth/host.sock")?;
    let length = u32::try_from(request.len()).expect("a short request");
    stream.write_all(&length.to_le_bytes())?;
    stream.write_all(request.as_bytes())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut answer)?;
    println!("{}", String::from_utf8_lossy(&answer));
    Ok(())
}
