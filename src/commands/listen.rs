//! `waybill webhooks listen`: posts what happens to a merchant's things to a program on the developer's machine, signed as a
//! delivery is. It asks the API, so nothing has to reach this machine from outside.

use std::time::{Duration, Instant, SystemTime};

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use standardwebhooks::Webhook;
use waybill_client::{Failure, Method, Waybill};

use super::{
    follow::{Follower, PolledEvent},
    remote::{RemoteCaller, at},
    serve::Shutdown,
};
use crate::{config::ListenArgs, modules::webhooks::new_secret};

pub(super) async fn run(args: ListenArgs) -> Result<(), String> {
    let shutdown = Shutdown::on_signals(Duration::ZERO)?;
    let secret = args.secret.clone().unwrap_or_else(new_secret);
    Webhook::new(secret.expose_secret()).map_err(|_| "--secret must be whsec_ and Base64")?;
    let (mut caller, program) = (RemoteCaller::new(args.api.clone())?, at(&args.forward)?);
    println!("events of {} go to {}", args.api.url, args.forward);
    println!("signed with {}", secret.expose_secret());
    let mut follower = Follower::new(None, &args.types);
    let renew = async |refused: Option<Failure>| caller.renew(refused).await;
    let take = async |event: PolledEvent| {
        post(&program, &secret, &event).await;
        Ok(())
    };
    tokio::select! {
        ended = follower.follow(renew, take, |words| println!("{words}")) => ended.map_err(|error| error.to_string()),
        () = shutdown.wait() => Ok(()),
    }
}

/// Posts an event, once, and says how that went.
async fn post(program: &Waybill, secret: &SecretString, event: &PolledEvent) {
    let (kind, body) = (event.kind(), Value::Object(event.body.clone()).to_string());
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let signature = Webhook::new(secret.expose_secret())
        .and_then(|webhook| webhook.sign(&event.event_id, at, body.as_bytes()))
        .unwrap_or_default();
    let began = Instant::now();
    let posted = async {
        let call = program.call(Method::POST, "")?.header("webhook-id", &event.event_id);
        let call = call.header("webhook-timestamp", at.to_string()).header("webhook-signature", signature);
        program.exchange(&call.body(body)).await
    };
    let said = posted.await.map_or_else(|failure| failure.to_string(), |answer| answer.status.to_string());
    println!("{kind} {} -> {said} ({} ms)", event.event_id, began.elapsed().as_millis());
}
