//! `waybill health`: what containers and units run to see how a program on this machine is. It asks for one path and reads one
//! line, so an image needs no other program for it.

use std::time::Duration;

use reqwest::Url;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A program that has not answered by then is not well; `/readyz` itself waits two seconds for the database.
const DEADLINE: Duration = Duration::from_secs(4);
/// More than any status line has.
const STATUS_LINE_BYTES: usize = 256;

/// Asks; an error where the answer is not 200.
pub(super) async fn ask(url: &str) -> Result<(), String> {
    let url = Url::parse(url).ok().filter(|url| url.scheme() == "http" && url.host_str().is_some());
    let url = url.ok_or("the address must be like http://127.0.0.1:8080/readyz")?;
    let status = tokio::time::timeout(DEADLINE, status_line(&url)).await;
    let status = status.map_err(|_| format!("{url} did not answer in {} s", DEADLINE.as_secs()))?;
    let status = status.map_err(|error| format!("{url} can't be asked: {error}"))?;
    if status.split(' ').nth(1) == Some("200") { Ok(()) } else { Err(format!("{url} answered {status}")) }
}

async fn status_line(url: &Url) -> std::io::Result<String> {
    let host = url.host_str().unwrap_or_default();
    // Brackets belong to the URL, not to the address.
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let mut stream = TcpStream::connect((address, url.port_or_known_default().unwrap_or(80))).await?;
    let request = format!("GET {} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n", url.path());
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(STATUS_LINE_BYTES as u64).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned())
}
