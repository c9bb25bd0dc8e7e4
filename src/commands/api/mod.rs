//! `waybill api ...`: the API's calls on the command line, for scripts and support. What is answered goes to stdout, what goes
//! wrong to stderr, with an exit code for each kind of it (`waybill api get --help`).

mod error;
mod output;
mod routes;
mod saved_tokens;

use std::{io::Read, process::ExitCode, time::Duration};

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use waybill_client::{Call, Failure, Method, Waybill};

use self::{
    output::{put, put_file, put_line},
    routes::ApiOperations,
    saved_tokens::SavedTokens,
};
use super::{
    follow::{Follower, PollError, PolledEvent},
    serve::Shutdown,
    sign_in::{NotSignedIn, SigningIn, refresh, sign_in},
};
use crate::{
    config::{
        ApiCommand, CallerArgs, EventsCommand, GetArgs, ListOrdersArgs, LoginArgs, OrdersCommand, PathArgs, RepeatArgs,
        SendArgs, TailArgs,
    },
    platform::clock::Rfc3339Time,
};
use error::CommandError;

/// Where nobody says which API.
const URL: &str = "http://127.0.0.1:8080";
/// An attempt to renew what `login` kept has so long.
const RENEWING_DEADLINE: Duration = Duration::from_secs(8);
/// The first delay between attempts.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// More than any body that the API takes as JSON.
const DATA_BYTES_MAX: u64 = 16 << 20;
/// Items on a page of `--all`.
const PAGE: &str = "100";

/// Prints every operation.
pub(super) async fn list() -> Result<ExitCode, String> {
    let operations = ApiOperations::load().await?;
    let printed = operations.lines().try_for_each(|line| put_line(&line));
    Ok(printed.map_or_else(|ended| ended.exit_code(), |()| ExitCode::SUCCESS))
}

pub(super) async fn run(command: ApiCommand) -> Result<ExitCode, String> {
    Ok(call(command).await.map_or_else(|ended| ended.exit_code(), |()| ExitCode::SUCCESS))
}

async fn call(command: ApiCommand) -> Result<(), CommandError> {
    match command {
        ApiCommand::Orders(command) => orders(command).await,
        ApiCommand::Events(EventsCommand::Tail(args)) => tail(&args).await,
        ApiCommand::Get(args) => get(&args).await,
        ApiCommand::Post(args) => send(Method::POST, &args).await,
        ApiCommand::Put(args) => send(Method::PUT, &args).await,
        ApiCommand::Patch(args) => send(Method::PATCH, &args).await,
        ApiCommand::Delete(args) => send(Method::DELETE, &args).await,
        ApiCommand::Login(args) => login(&args).await,
        ApiCommand::Logout(args) => logout(&args).await,
    }
}

async fn orders(command: OrdersCommand) -> Result<(), CommandError> {
    match command {
        OrdersCommand::Create(args) => {
            let mut order = read_data(&args.data)?;
            if let Some(id) = &args.client_order_id {
                let fields =
                    order.as_object_mut().ok_or_else(|| CommandError::Usage("the order is no JSON object".into()))?;
                fields.insert("clientOrderId".into(), id.as_str().into());
            }
            if order["clientOrderId"].as_str().is_none_or(str::is_empty) {
                let words = "the order has no clientOrderId: choose one, keep it, and give it in the data or by \
                    --client-order-id";
                return Err(CommandError::Usage(words.into()));
            }
            let api = repeating(&args.caller, args.repeat).await?;
            put(&api.send_safely(&api.call(Method::POST, "/orders/create")?.json(&order)).await?)
        }
        OrdersCommand::Get(args) => {
            let api = caller(&args.caller).await?;
            let Some(id) = &args.client_order_id else {
                let id = args.order_id.as_deref().unwrap_or_default();
                return put(&api.send_safely(&api.call_of(Method::GET, &["orders", id])?).await?);
            };
            let call = api.call(Method::GET, "/orders")?.query("clientOrderId", id);
            let page: Value = api.send_safely(&call).await?.json()?;
            match page["items"].get(0) {
                // As it is read by its own id, which says more than a list.
                Some(order) => {
                    let id = order["orderId"].as_str().unwrap_or_default();
                    put(&api.send_safely(&api.call_of(Method::GET, &["orders", id])?).await?)
                }
                None => Err(CommandError::Failure(Failure::Problem(Box::new(absent(id))))),
            }
        }
        OrdersCommand::Cancel(args) => {
            let api = repeating(&args.caller, args.repeat).await?;
            let mut body = json!({ "clientOrderId": args.client_order_id });
            if let Some(reason) = &args.reason {
                body["reason"] = reason.as_str().into();
            }
            put(&api.send_safely(&api.call(Method::POST, "/orders/cancel")?.json(&body)).await?)
        }
        OrdersCommand::List(args) => list_orders(&args).await,
    }
}

/// The problem that the API answers for a missing order.
fn absent(client_order_id: &str) -> waybill_client::Problem {
    waybill_client::Problem {
        status: 404,
        code: "orders.not_found".into(),
        detail: format!("you have no order {client_order_id}"),
        request_id: None,
        errors: Vec::new(),
        retry_after: None,
    }
}

async fn list_orders(args: &ListOrdersArgs) -> Result<(), CommandError> {
    let api = caller(&args.caller).await?;
    let mut call = api.call(Method::GET, "/orders")?;
    let filters = [("status", &args.status), ("provider", &args.provider), ("from", &args.from), ("to", &args.to)];
    for (name, value) in filters.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))) {
        call = call.query(name, value);
    }
    put_items(&api, &call.query("limit", PAGE), args.all).await
}

/// Prints a list, an item a line: to its end, or the first page.
async fn put_items(api: &Waybill, call: &Call, all: bool) -> Result<(), CommandError> {
    let mut printed = Ok(());
    let mut pages = 0_u64;
    api.each_page(call, |items| {
        pages += 1;
        if !all && pages > 1 {
            eprintln!("waybill: there are more: --all prints them");
            return false;
        }
        printed = items.iter().try_for_each(|item| put_line(&item.to_string()));
        printed.is_ok()
    })
    .await?;
    printed
}

async fn tail(args: &TailArgs) -> Result<(), CommandError> {
    let from = args.from.as_deref().map(|from| {
        let time: Result<Rfc3339Time, _> = serde_json::from_value(Value::String(from.to_owned()));
        time.map(|time| time.0.to_system_time())
            .map_err(|_| CommandError::Usage(format!("{from} is no time of RFC 3339")))
    });
    let mut follower = Follower::new(from.transpose()?, &args.types);
    let say = |words: &str| eprintln!("waybill: {words}");
    let mut nobody_reads = false;
    let mut take = async |event: PolledEvent| {
        let mut line = json!({ "eventId": event.event_id });
        if let Some(fields) = line.as_object_mut() {
            fields.extend(event.body);
        }
        put_line(&line.to_string()).map_err(|_| {
            nobody_reads = true;
            Failure::Unusable("nobody reads".into())
        })
    };
    if args.once {
        let api = caller(&args.caller).await?;
        while !follower.has_caught_up() {
            let looked = follower.look(&api, &mut take, &say).await;
            looked.map_err(|trouble| match trouble {
                PollError::Away(reason) => Failure::NoAnswer { attempts: 1, reason },
                PollError::SignedOut(failure) | PollError::Refused(failure) => failure,
            })?;
        }
        return Ok(());
    }
    let shutdown = Shutdown::on_signals(Duration::ZERO).map_err(CommandError::Here)?;
    let renew = async |refused: Option<Failure>| match (refused, caller(&args.caller).await) {
        // What was given is no better now; what was kept has been renewed, or can't be.
        (Some(refused), _) if args.caller.token.is_some() => Err(PollError::Refused(refused)),
        (_, Ok(api)) => Ok(api),
        (_, Err(CommandError::Failure(failure))) => Err(PollError::from(failure)),
        (_, Err(ended)) => Err(PollError::Refused(Failure::Unusable(ended.to_string()))),
    };
    let ended = tokio::select! {
        ended = follower.follow(renew, take, say) => ended,
        () = shutdown.wait() => Ok(()),
    };
    if nobody_reads { Err(CommandError::NobodyReads) } else { Ok(ended?) }
}

async fn get(args: &GetArgs) -> Result<(), CommandError> {
    let (api, call) = prepare(Method::GET, &args.path).await?;
    if args.all {
        return put_items(&api, &call, true).await;
    }
    put_file(api.open(&call).await?, args.path.caller.deadline(), args.max_mib << 20).await
}

async fn send(method: Method, args: &SendArgs) -> Result<(), CommandError> {
    let data = args.data.as_deref().map(read_data).transpose()?;
    let (api, call) = prepare(method, &args.path).await?;
    let call = match data {
        Some(data) => call.json(&data),
        None => call,
    };
    put(&api.send(&call).await?)
}

/// The call, once it is known that there is such a one.
async fn prepare(method: Method, args: &PathArgs) -> Result<(Waybill, Call), CommandError> {
    if args.path.contains(['?', '#']) {
        return Err(CommandError::Usage("give parameters by --query name=value, not in the path".into()));
    }
    let names: Vec<&str> = args.query.iter().map(|(name, _)| name.as_str()).collect();
    // What the URL makes of it counts: `/orders/../users` is another path.
    let plain =
        Waybill::new(URL)?.call(method.clone(), &args.path).map_err(|error| CommandError::Usage(error.to_string()))?;
    if !args.unchecked {
        let operations = ApiOperations::load().await.map_err(CommandError::Here)?;
        operations.check(method.as_str(), plain.url.path(), &names).map_err(CommandError::Usage)?;
    }
    let api = caller(&args.caller).await?;
    let call = api.call(method, plain.url.path())?;
    let call = args.query.iter().fold(call, |call, (name, value)| call.query(name, value));
    Ok((api, call))
}

async fn login(args: &LoginArgs) -> Result<(), CommandError> {
    let url = args.caller.url.clone().unwrap_or_else(|| URL.into());
    let api = Waybill::new(&url)?.with_deadline(args.caller.deadline());
    let (kept, who) = match (&args.caller.token, &args.email, &args.password) {
        (Some(_), Some(_), _) => {
            let words = "both a token (--token, WAYBILL_TOKEN) and an address (--email, WAYBILL_EMAIL) are given: say which \
                one is to be kept, and leave out or unset the other";
            return Err(CommandError::Usage(words.into()));
        }
        (Some(token), None, _) => {
            let me = api.clone().with_token(token.clone());
            let me: Value = me.send(&me.call(Method::GET, "/auth/me")?).await?.json()?;
            (SavedTokens::token(&url, token), me["email"].as_str().unwrap_or_default().to_owned())
        }
        (None, Some(email), Some(password)) => {
            let who = SigningIn { email, password, otp: args.otp.as_deref(), may_ask: true };
            let tokens = sign_in(&api, &who).await.map_err(|refused| match refused {
                NotSignedIn::Refused(words) => CommandError::Usage(words),
                NotSignedIn::Failure(failure) => CommandError::Failure(failure),
            })?;
            (SavedTokens::tokens(&url, &tokens), email.clone())
        }
        _ => {
            let words = "give an API key in WAYBILL_TOKEN, or --email and the password in WAYBILL_PASSWORD";
            return Err(CommandError::Usage(words.into()));
        }
    };
    let file = saved_tokens::file(&args.caller)?;
    kept.write(&file)?;
    let what = if kept.refresh_token().is_some() { "session" } else { "token" };
    put_line(&json!({ "url": url, "user": who, "kept": what, "keptIn": file }).to_string())
}

/// Ends the session at the API, and then forgets it: as long as it is not known to have ended, it can be ended again.
async fn logout(args: &CallerArgs) -> Result<(), CommandError> {
    if args.token.is_some() {
        eprintln!("waybill: WAYBILL_TOKEN is still set, and counts for every other command");
    }
    let file = saved_tokens::file(args)?;
    let Some(kept) = SavedTokens::read(&file)? else { return Ok(()) };
    if args.url.as_deref().is_some_and(|url| !kept.is_for(url)) {
        eprintln!("waybill: what is kept is for {}, and stays", kept.url());
        return Ok(());
    }
    if let Some(refresh_token) = kept.refresh_token() {
        let api = Waybill::new(kept.url())?.with_deadline(args.deadline());
        let body = json!({ "refreshToken": refresh_token.expose_secret() });
        match api.send(&api.call(Method::POST, "/auth/logout")?.json(&body)).await {
            Ok(_) => {}
            // It has ended already.
            Err(Failure::Problem(problem)) if problem.status == 401 => {}
            Err(failure) => {
                eprintln!("waybill: the session goes on: try again, or remove {}", file.display());
                return Err(failure.into());
            }
        }
    }
    saved_tokens::forget(&file)
}

/// The API as whoever is given, or kept.
async fn caller(args: &CallerArgs) -> Result<Waybill, CommandError> {
    let at = |url: &str| Ok::<_, Failure>(Waybill::new(url)?.with_deadline(args.deadline()));
    if let Some(token) = &args.token {
        return Ok(at(args.url.as_deref().unwrap_or(URL))?.with_token(token.clone()));
    }
    let Some(file) = args.credentials_file() else { return Ok(at(args.url.as_deref().unwrap_or(URL))?) };
    let Some(mut kept) = SavedTokens::read(&file)? else { return Ok(at(args.url.as_deref().unwrap_or(URL))?) };
    let api = at(args.url.as_deref().unwrap_or_else(|| kept.url()))?;
    if !kept.is_for(api.base_url()) {
        // It is another API's, which is none of this one's business.
        return Ok(api);
    }
    if let Some(refresh_token) = kept.to_renew() {
        // The same token again is the same answer for half a minute; later it would end the session.
        let renewing = api.clone().with_deadline(RENEWING_DEADLINE).with_attempts(2, FIRST_DELAY);
        let tokens = refresh(&renewing, refresh_token).await?;
        kept = SavedTokens::tokens(api.base_url(), &tokens);
        kept.write(&file)?;
    }
    Ok(api.with_token(kept.access_token().clone()))
}

async fn repeating(args: &CallerArgs, repeat: RepeatArgs) -> Result<Waybill, CommandError> {
    Ok(caller(args).await?.with_attempts(repeat.attempts, FIRST_DELAY))
}

/// JSON, as it is given on the command line.
fn read_data(data: &str) -> Result<Value, CommandError> {
    let text = match data.strip_prefix('@') {
        None => data.to_owned(),
        Some("-") => read_all(std::io::stdin().lock(), "stdin")?,
        Some(path) => {
            let file = std::fs::File::open(path);
            read_all(file.map_err(|error| CommandError::Here(format!("{path} can't be read: {error}")))?, path)?
        }
    };
    serde_json::from_str(&text).map_err(|error| CommandError::Usage(format!("the data is no JSON: {error}")))
}

fn read_all(from: impl Read, name: &str) -> Result<String, CommandError> {
    let mut text = String::new();
    let read = from.take(DATA_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| CommandError::Here(format!("{name} can't be read: {error}")))?;
    if text.len() as u64 > DATA_BYTES_MAX {
        return Err(CommandError::Usage(format!("{name} is longer than {} MiB", DATA_BYTES_MAX >> 20)));
    }
    Ok(text)
}
