//! Sandboxes on a real bridge: two containers reach each other, a published port is reached from outside, and nothing stays behind.
//!
//! Needs root. Runs itself again in mount, net and pid namespaces of its own.
#![allow(clippy::print_stdout, reason = "a test runner prints")]

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use docker_api::{EndpointSettings, PortBinding, PortMap};
use engine::{
    id::ContainerId,
    ports::network::{ConnectRequest, Networks, Sandbox},
};
use network::{Local, NativeHost, Options};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    if let Err(end) = namespaced::enter() {
        return end;
    }
    namespaced::mount_run();
    namespaced::run("ip", &["link", "set", "lo", "up"]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.block_on(two_containers_and_a_published_port());
    }));
    let passed = namespaced::told("two_containers_and_a_published_port", ended.is_ok());
    namespaced::end(&[passed])
}

fn request(number: u8, ports: PortMap) -> ConnectRequest {
    ConnectRequest {
        container: ContainerId::from_random([number; 32]),
        name: format!("c{number}"),
        networks: vec![("bridge".to_owned(), EndpointSettings::default())],
        ports,
        exposed: Vec::new(),
        publish_all: false,
    }
}

/// Runs `work` in a thread that is in the sandbox's network.
fn within<T: Send + 'static>(
    sandbox: &Sandbox,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    let namespace = fs::File::open(&sandbox.path).expect("a namespace");
    std::thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("entered");
        work()
    })
}

fn address(sandbox: &Sandbox) -> IpAddr {
    sandbox.endpoints[0]
        .1
        .ip_address
        .parse()
        .expect("an address")
}

/// What a server says to whoever connects: their address.
fn ask(to: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

async fn two_containers_and_a_published_port() {
    let folder = tempfile::tempdir_in("/run").expect("a folder");
    let (state, pins) = (folder.path().join("state"), folder.path().join("net"));
    fs::create_dir(&state).expect("made");
    let options = Options::new(&state, &pins, Arc::new(NativeHost::new()));
    let networks = Local::open(options).expect("opened");
    let binding = PortBinding {
        host_ip: String::new(),
        host_port: "18080".to_owned(),
    };
    let published = PortMap::from([("80/tcp".to_owned(), Some(vec![binding]))]);
    let since = Instant::now();
    let server = networks
        .connect(request(1, published.clone()))
        .await
        .expect("connected");
    let client = networks
        .connect(request(2, PortMap::new()))
        .await
        .expect("connected");
    println!("two connects: {:?}", since.elapsed());
    assert_ne!(address(&server), address(&client));

    let listener = within(&server, || TcpListener::bind("0.0.0.0:80").expect("bound"));
    let listener = listener.join().expect("listens");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let peer = stream.peer_addr().expect("a peer");
            let _ = write!(stream, "{}", peer.ip());
        }
    });
    let to = SocketAddr::new(address(&server), 80);
    let asked = within(&client, move || ask(to));
    let said = asked.join().expect("asked").expect("answered");
    assert_eq!(said, address(&client).to_string());

    let outside: SocketAddr = "127.0.0.1:18080".parse().expect("an address");
    let asked = tokio::task::spawn_blocking(move || ask(outside)).await;
    assert!(!asked.expect("asked").expect("answered").is_empty());
    let Err(refused) = networks.connect(request(3, published.clone())).await else {
        panic!("one port was published twice")
    };
    assert!(
        refused.message().contains("port is already allocated"),
        "{refused}"
    );

    let (first, second) = (request(1, PortMap::new()), request(2, PortMap::new()));
    networks.disconnect(&first.container).await.expect("gone");
    networks.disconnect(&second.container).await.expect("gone");
    let asked = tokio::task::spawn_blocking(move || ask(outside)).await;
    assert!(asked.expect("asked").is_err(), "nobody is behind the port");
    networks.settled().await;
    assert!(!Path::new(&server.path).exists() && !Path::new(&client.path).exists());
    let again = networks
        .connect(request(4, published))
        .await
        .expect("the port is free again");
    assert_eq!(
        again.ports["80/tcp"].as_ref().expect("published")[0].host_port,
        "18080"
    );
    networks
        .disconnect(&ContainerId::from_random([4; 32]))
        .await
        .expect("gone");
}
