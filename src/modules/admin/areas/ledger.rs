//! Money: the trial balance, transactions, wallets, and what does not agree.

use axum::http::Method;

use crate::{
    modules::admin::{
        action::{Action, Kind},
        area::{Area, Download},
        page::{Get, Page},
    },
    platform::identity::Role,
};

const READERS: &[Role] = &[Role::Finance, Role::Auditor];
const FINANCE: &[Role] = &[Role::Finance];

pub(super) fn area() -> Area {
    let pages = vec![
        Page::new("/ledger", "Trial balance", "ledger.html", READERS)
            .nav("Money", "Trial balance")
            .get(Get::new("balance", "/finance/trial-balance?asOf&currency")),
        Page::new("/ledger/transactions", "Transactions", "transactions.html", READERS)
            .nav("Money", "Transactions")
            .get(Get::new(
                "ledger",
                "/finance/ledger?userId&currency&kind&referenceType&referenceId&account&from&to&cursor&limit=50",
            )),
        Page::new("/ledger/transactions/{transactionId}", "Transaction {transactionId}", "transaction.html", READERS)
            .get(Get::new("transaction", "/finance/transactions/{transactionId}")),
        Page::new("/ledger/wallets/{userId}", "Wallet of {userId}", "ledger-wallet.html", READERS)
            .get(Get::new("wallet", "/finance/wallets/{userId}?currency&asOf"))
            .get(Get::new("ledger", "/finance/ledger?userId={userId}&currency&cursor&limit=50")),
        Page::new("/ledger/differences", "Differences", "differences.html", READERS)
            .nav("Money", "Differences")
            .get(Get::new("found", "/finance/reconciliation")),
    ];
    let actions = vec![
        Action::new("book", Method::POST, "/finance/transactions", FINANCE, "{answer.transactionId} is booked.")
            .field("userId", Kind::Text)
            .field("kind", Kind::Text)
            .field("direction", Kind::Text)
            .field("amount.amount", Kind::Number)
            .field("amount.currency", Kind::Text)
            .field("clientReference", Kind::Text)
            .field("reason", Kind::Text)
            .question(
                "Book {kind} of {amount.amount} minor units of {amount.currency} for {userId}? It can't be deleted.",
            ),
        Action::new(
            "reverse",
            Method::POST,
            "/finance/transactions/{transactionId}/reverse",
            FINANCE,
            "{answer.transactionId} takes {transactionId} back.",
        )
        .field("clientReference", Kind::Text)
        .asking("reason", "Why")
        .question("Take {transactionId} back, in full?"),
    ];
    let downloads = vec![Download {
        name: "ledger",
        path: "/finance/ledger/export?format=csv&userId&currency&from&to",
        roles: READERS,
    }];
    let templates =
        templates!["ledger.html", "transactions.html", "transaction.html", "ledger-wallet.html", "differences.html"];
    Area { pages, actions, downloads, templates }
}
