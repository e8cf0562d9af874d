//! One address that keeps working: each new connection goes to whoever serves. Carries bytes and looks at none.

use std::time::{Duration, Instant};

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::backends::Backends;

/// A connection is held for so long while nobody accepts it.
const HOLD: Duration = Duration::from_secs(3);
/// Longest wait for one backend.
const CONNECT: Duration = Duration::from_millis(300);
/// Pause before all are tried again.
const AGAIN: Duration = Duration::from_millis(50);
/// Bytes on their way, in each direction of a connection.
const BUFFER_BYTES: usize = 64 << 10;

/// Accepts until it is dropped.
pub(super) async fn serve(listener: TcpListener, backends: watch::Receiver<Backends>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => drop(tokio::spawn(carry(client, backends.clone()))),
            // Out of file descriptors, most likely: some come back when connections end.
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

async fn carry(mut client: TcpStream, mut backends: watch::Receiver<Backends>) {
    let Some((mut server, address)) = reach(&mut backends).await else { return };
    // Without it, small frames wait for one another; where it cannot be set they do.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    tokio::select! {
        // However it ended: both ends see it.
        _ = copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER_BYTES, BUFFER_BYTES) => {}
        _ = backends.wait_for(|backends| backends.hang.contains(&address)) => {}
    }
}

/// Connects to the first backend that accepts.
async fn reach(backends: &mut watch::Receiver<Backends>) -> Option<(TcpStream, String)> {
    let since = Instant::now();
    loop {
        let order = backends.borrow_and_update().order.clone();
        for address in order {
            if let Ok(Ok(server)) = tokio::time::timeout(CONNECT, TcpStream::connect(&address)).await {
                return Some((server, address));
            }
        }
        if since.elapsed() >= HOLD {
            return None;
        }
        // Something changed, or time is up: both are a reason to try again.
        let _ = tokio::time::timeout(AGAIN, backends.changed()).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Generous, for machines that do other things besides.
    const DEADLINE: Duration = Duration::from_mins(1);

    async fn listener() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (listener, address)
    }

    /// A backend that says its name to whoever connects, and then everything back.
    async fn backend(name: [u8; 2]) -> (String, tokio::task::JoinHandle<()>) {
        let (listener, address) = listener().await;
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    stream.write_all(&name).await.unwrap();
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        (address, serving)
    }

    async fn name_of_backend(front: &str) -> (TcpStream, [u8; 2]) {
        let mut stream = TcpStream::connect(front).await.unwrap();
        let mut name = [0; 2];
        tokio::time::timeout(DEADLINE, stream.read_exact(&mut name)).await.unwrap().unwrap();
        (stream, name)
    }

    fn to(order: &[&String]) -> Backends {
        Backends { order: order.iter().map(|address| (*address).clone()).collect(), ..Backends::default() }
    }

    #[tokio::test]
    async fn a_connection_goes_to_the_first_backend_that_accepts_and_bytes_go_both_ways() {
        let (_, nobody) = listener().await;
        let ((r0, _), (r1, _)) = (backend(*b"r0").await, backend(*b"r1").await);
        let (listener, front) = listener().await;
        let (tell, backends) = watch::channel(to(&[&nobody, &r1, &r0]));
        tokio::spawn(serve(listener, backends));
        let (mut stream, name) = name_of_backend(&front).await;
        assert_eq!(&name, b"r1");
        stream.write_all(b"there and back").await.unwrap();
        let mut back = [0; 14];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"there and back");
        tell.send_replace(to(&[&r0]));
        assert_eq!(&name_of_backend(&front).await.1, b"r0", "new connections go to the new master");
        stream.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x', "an old one stays where it is");
    }

    #[tokio::test]
    async fn a_connection_is_held_while_nobody_serves() {
        let (listener, front) = listener().await;
        let (tell, backends) = watch::channel(Backends::default());
        tokio::spawn(serve(listener, backends));
        let mut stream = TcpStream::connect(&front).await.unwrap();
        let (r0, _) = backend(*b"r0").await;
        tell.send_replace(to(&[&r0]));
        let mut name = [0; 2];
        stream.read_exact(&mut name).await.unwrap();
        assert_eq!(&name, b"r0");
    }

    #[tokio::test]
    async fn a_connection_to_a_backend_that_hangs_is_cut() {
        let (r0, _) = backend(*b"r0").await;
        let (listener, front) = listener().await;
        let (tell, backends) = watch::channel(to(&[&r0]));
        tokio::spawn(serve(listener, backends));
        let (mut stream, _) = name_of_backend(&front).await;
        tell.send_replace(Backends { hang: [r0].into(), ..Backends::default() });
        let ended = tokio::time::timeout(DEADLINE, stream.read(&mut [0])).await.unwrap();
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    }
}
