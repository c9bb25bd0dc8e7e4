//! A network between the application and a server, which can be cut and mended; and a proxy that buffers streams.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinHandle},
};

pub struct Proxy {
    pub port: u16,
    cut: Arc<AtomicBool>,
    pipes: Arc<Mutex<Vec<AbortHandle>>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// To `target`, as `host:port`.
    pub async fn start(target: String) -> Self {
        Self::with(target, false).await
    }

    /// The same, but what is a stream of events is held back until it ends.
    pub async fn that_buffers(target: String) -> Self {
        Self::with(target, true).await
    }

    async fn with(target: String, buffers: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, pipes) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::<AbortHandle>::new())));
        let (is_cut, open) = (Arc::clone(&cut), Arc::clone(&pipes));
        let accepting = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                let target = target.clone();
                let pipe = tokio::spawn(async move {
                    match TcpStream::connect(target).await {
                        Ok(server) if buffers => hold_back(client, server).await,
                        Ok(mut server) => drop(tokio::io::copy_bidirectional(&mut client, &mut server).await),
                        Err(_) => {}
                    }
                });
                open.lock().unwrap().push(pipe.abort_handle());
            }
        });
        Self { port, cut, pipes, accepting }
    }

    /// Drops every connection and lets no new one through.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        self.pipes.lock().unwrap().drain(..).for_each(|pipe| pipe.abort());
    }

    /// Lets new connections through again.
    pub fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

/// Passes on what comes, but nothing behind the beginning of a stream of events before it has ended.
async fn hold_back(mut client: TcpStream, mut server: TcpStream) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.split(), server.split());
    let up = tokio::io::copy(&mut from_client, &mut to_server);
    let down = async {
        let (mut held, mut is_stream, mut portion) = (Vec::new(), false, vec![0; 64 * 1024]);
        loop {
            let bytes = from_server.read(&mut portion).await?;
            is_stream |= String::from_utf8_lossy(&portion[..bytes]).contains("text/event-stream");
            held.extend_from_slice(&portion[..bytes]);
            if bytes == 0 || !is_stream {
                to_client.write_all(&held).await?;
                held.clear();
            }
            if bytes == 0 {
                return std::io::Result::Ok(());
            }
        }
    };
    tokio::select! {
        _ = up => {}
        _ = down => {}
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
