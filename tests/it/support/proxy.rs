//! A network between the application and a server, which can be cut and mended.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
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
                    if let Ok(mut server) = TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
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

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
