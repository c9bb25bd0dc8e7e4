//! `waybill health`: what containers and units run to see how a program on this machine is, so an image needs no other program
//! for it.

use std::time::Duration;

use waybill_client::{Method, Waybill};

/// A program that has not answered by then is not well; `/readyz` itself waits two seconds for the database.
const DEADLINE: Duration = Duration::from_secs(4);

/// Asks; an error where the answer is not 200.
pub(super) async fn ask(url: &str) -> Result<(), String> {
    let there = Waybill::new(url).ok().filter(|_| url.starts_with("http://"));
    let there = there.ok_or("the address must be like http://127.0.0.1:8080/readyz")?.with_deadline(DEADLINE);
    let call = there.call(Method::GET, "").map_err(|error| error.to_string())?;
    let answer = there.exchange(&call).await.map_err(|error| format!("{url} can't be asked: {error}"))?;
    if answer.status == 200 { Ok(()) } else { Err(format!("{url} answered {}", answer.status)) }
}
