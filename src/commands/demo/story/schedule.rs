//! A chapter: a nightly check, run now.

use secrecy::SecretString;

use super::{Story, text};
use crate::commands::demo::claim::{claim, failed};
use crate::platform::{error::AppError, identity::Role};

const CHECK: &str = "ledger-check";

impl Story<'_> {
    pub(super) async fn schedule(&mut self) -> Result<(), String> {
        self.chapter("An administrator does not wait for the night to have the books checked");
        let password = SecretString::from("correct horse battery");
        let created = self.app.auth.create_user("ops@example.com", &password, "Ops", Role::Admin).await;
        let (_, token) = created.map_err(|error| failed(AppError::from(error).detail))?;
        let admin = self.client.with_token(token);
        let asked = admin.run_schedule(CHECK).await?;
        let run_id = text(&asked.body, "runId");
        println!("   POST /schedules/{CHECK}/run -> {} {run_id}", asked.status);
        let run = admin.await_run(CHECK, run_id).await?;
        let result = &run["result"];
        println!(
            "   {}, wanted by a {}: {} differences",
            text(&run, "state"),
            text(&run, "trigger"),
            result["differences"]
        );
        println!("   looked at: {}", result["checked"]);
        for schedule in admin.schedules().await? {
            println!(
                "   {:<20} {:<12} next {}",
                text(&schedule, "name"),
                text(&schedule, "cron"),
                text(&schedule, "nextAt")
            );
        }
        println!();
        claim(run["state"] == "done" && result["differences"] == 0, "the books agree")
    }
}
