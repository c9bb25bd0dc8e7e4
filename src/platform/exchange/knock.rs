//! Whether somebody is at an address: connects, agrees on TLS where the address wants it, and hangs up. Nothing is sent, so nothing
//! has to be on record.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::Url;
use rustls::{ClientConfig, pki_types::ServerName};
use rustls_platform_verifier::ConfigVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::CONNECT_TIMEOUT;

/// For the name, the connection and TLS, each.
const STEP_TIMEOUT: Duration = CONNECT_TIMEOUT;

/// Knocks at the host of `url`; gives how long it took.
///
/// # Errors
/// In words, without the URL, which may hold a token.
pub async fn knock(url: &str) -> Result<Duration, String> {
    let url = Url::parse(url).map_err(|error| format!("is no address: {error}"))?;
    let host = url.host_str().ok_or("names no host")?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_or_known_default().ok_or("names no port")?;
    let began = Instant::now();
    let stream = tokio::time::timeout(STEP_TIMEOUT, TcpStream::connect((host.as_str(), port))).await;
    let stream = stream.map_err(|_| format!("{host}:{port} does not answer"))?;
    let stream = stream.map_err(|error| format!("{host}:{port} can't be connected to: {error}"))?;
    if url.scheme() == "https" {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config =
            ClientConfig::with_platform_verifier().map_err(|error| format!("certificates can't be read: {error}"))?;
        let name = ServerName::try_from(host.clone()).map_err(|error| error.to_string())?;
        let agreed = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let agreed = tokio::time::timeout(STEP_TIMEOUT, agreed).await;
        agreed
            .map_err(|_| format!("{host}:{port} does not agree on TLS in time"))?
            .map_err(|error| format!("{host}:{port} can't be agreed with on TLS: {error}"))?;
    }
    Ok(began.elapsed())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn whoever_listens_is_found_and_who_speaks_no_tls_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        assert!(knock(&format!("http://{address}/api/v3?token=t")).await.is_ok());
        let deaf = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream);
            }
        });
        let refused = knock(&format!("https://{address}/?token=t")).await.expect_err("no TLS");
        assert!(refused.contains("TLS") && !refused.contains("token"), "{refused}");
        deaf.abort();
        let _ = deaf.await;
        let away = knock(&format!("http://{address}/")).await.expect_err("nobody");
        assert!(away.contains("can't be connected to"), "{away}");
    }
}
