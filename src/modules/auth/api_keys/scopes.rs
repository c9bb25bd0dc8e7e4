//! Scopes of API keys, and the scope that each route requires. A route that is not listed here is refused to every key.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A permission of a key, within the permissions of its user's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum Scope {
    /// See whose key it is.
    #[serde(rename = "account:read")]
    AccountRead,
    /// Sums of orders and earnings.
    #[serde(rename = "analytics:read")]
    AnalyticsRead,
    /// The audit: records, exports, seals.
    #[serde(rename = "audit:read")]
    AuditRead,
    /// Products, stock and movements.
    #[serde(rename = "catalog:read")]
    CatalogRead,
    /// Change products, move stock.
    #[serde(rename = "catalog:write")]
    CatalogWrite,
    /// Checkouts, how they are fulfilled, recommendations and the customer's own addresses.
    #[serde(rename = "checkouts:read")]
    CheckoutsRead,
    /// Check out, cancel, fulfil; change what is read with `checkouts:read`.
    #[serde(rename = "checkouts:write")]
    CheckoutsWrite,
    /// Files of orders, and their contents.
    #[serde(rename = "files:read")]
    FilesRead,
    /// Everybody's money: ledger, wallets, reconciliation.
    #[serde(rename = "finance:read")]
    FinanceRead,
    /// Book and reverse.
    #[serde(rename = "finance:write")]
    FinanceWrite,
    /// Queues, jobs, schedules, accounts at providers, what became of events.
    #[serde(rename = "operations:read")]
    OperationsRead,
    /// Pause, resume, retry, run; comments on orders.
    #[serde(rename = "operations:write")]
    OperationsWrite,
    /// Orders and prices.
    #[serde(rename = "orders:read")]
    OrdersRead,
    /// Create and cancel orders.
    #[serde(rename = "orders:write")]
    OrdersWrite,
    /// Tenants, their members, and members' orders and wallets.
    #[serde(rename = "tenants:read")]
    TenantsRead,
    /// The own wallet: balance, ledger, statement, top-ups.
    #[serde(rename = "wallet:read")]
    WalletRead,
    /// Ask for top-ups.
    #[serde(rename = "wallet:write")]
    WalletWrite,
    /// Endpoints and what was posted to them.
    #[serde(rename = "webhooks:read")]
    WebhooksRead,
    /// Change endpoints, send again.
    #[serde(rename = "webhooks:write")]
    WebhooksWrite,
}

impl Scope {
    pub const ALL: [Self; 19] = [
        Self::AccountRead,
        Self::AnalyticsRead,
        Self::AuditRead,
        Self::CatalogRead,
        Self::CatalogWrite,
        Self::CheckoutsRead,
        Self::CheckoutsWrite,
        Self::FilesRead,
        Self::FinanceRead,
        Self::FinanceWrite,
        Self::OperationsRead,
        Self::OperationsWrite,
        Self::OrdersRead,
        Self::OrdersWrite,
        Self::TenantsRead,
        Self::WalletRead,
        Self::WalletWrite,
        Self::WebhooksRead,
        Self::WebhooksWrite,
    ];

    /// As in requests and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccountRead => "account:read",
            Self::AnalyticsRead => "analytics:read",
            Self::AuditRead => "audit:read",
            Self::CatalogRead => "catalog:read",
            Self::CatalogWrite => "catalog:write",
            Self::CheckoutsRead => "checkouts:read",
            Self::CheckoutsWrite => "checkouts:write",
            Self::FilesRead => "files:read",
            Self::FinanceRead => "finance:read",
            Self::FinanceWrite => "finance:write",
            Self::OperationsRead => "operations:read",
            Self::OperationsWrite => "operations:write",
            Self::OrdersRead => "orders:read",
            Self::OrdersWrite => "orders:write",
            Self::TenantsRead => "tenants:read",
            Self::WalletRead => "wallet:read",
            Self::WalletWrite => "wallet:write",
            Self::WebhooksRead => "webhooks:read",
            Self::WebhooksWrite => "webhooks:write",
        }
    }

    /// The scope that a route asks of a key; none where no key may use it: passwords, sessions, users, keys, second factors,
    /// credentials at providers, identity papers, legal holds, tenants, what is decided of orders and the search over all of
    /// it are for people who have signed in. HEAD is asked for as GET is.
    #[must_use]
    pub fn of_route(method: &str, route: &str) -> Option<Self> {
        let method = if method == "HEAD" { "GET" } else { method };
        Some(match (method, route) {
            ("POST", "/orders/create" | "/orders/cancel") => Self::OrdersWrite,
            ("GET", "/orders" | "/orders/{orderId}" | "/orders/{orderId}/timeline" | "/rates") => Self::OrdersRead,
            ("GET", "/orders/{orderId}/files" | "/orders/{orderId}/files/{fileId}") => Self::FilesRead,
            (
                "GET",
                "/wallet" | "/wallet/ledger" | "/wallet/statement" | "/wallet/topups" | "/wallet/topups/{topupId}",
            ) => Self::WalletRead,
            ("POST", "/wallet/topups") => Self::WalletWrite,
            (
                "GET",
                "/webhook-endpoints"
                | "/webhook-endpoints/{endpointId}"
                | "/webhook-deliveries"
                | "/webhook-deliveries/{deliveryId}"
                | "/webhook-events",
            ) => Self::WebhooksRead,
            (
                "POST",
                "/webhook-endpoints"
                | "/webhook-endpoints/{endpointId}/rotate-secret"
                | "/webhook-endpoints/{endpointId}/test"
                | "/webhook-endpoints/{endpointId}/replay"
                | "/webhook-deliveries/{deliveryId}/retry",
            )
            | ("PATCH" | "DELETE", "/webhook-endpoints/{endpointId}") => Self::WebhooksWrite,
            (
                "GET",
                "/products" | "/products/categories" | "/products/{productId}" | "/products/{productId}/movements",
            ) => Self::CatalogRead,
            ("POST", "/products" | "/products/{productId}/stock") | ("PATCH", "/products/{productId}") => {
                Self::CatalogWrite
            }
            (
                "GET",
                "/checkouts" | "/checkouts/{checkoutId}" | "/fulfilment" | "/recommendations" | "/customers/me",
            ) => Self::CheckoutsRead,
            ("POST", "/checkout" | "/checkout/cancel" | "/checkouts/{checkoutId}/fulfil")
            | ("PUT", "/fulfilment" | "/customers/me") => Self::CheckoutsWrite,
            ("GET", "/analytics/daily" | "/analytics/earnings") => Self::AnalyticsRead,
            (
                "GET",
                "/finance/ledger"
                | "/finance/ledger/export"
                | "/finance/transactions/{transactionId}"
                | "/finance/trial-balance"
                | "/finance/wallets/{userId}"
                | "/finance/reconciliation",
            ) => Self::FinanceRead,
            ("POST", "/finance/transactions" | "/finance/transactions/{transactionId}/reverse") => Self::FinanceWrite,
            (
                "GET",
                "/audit/provider-requests"
                | "/audit/provider-requests/{requestRefId}"
                | "/audit/provider-responses/{responseRefId}"
                | "/audit/orders"
                | "/audit/orders/{orderId}"
                | "/audit/orders/{orderId}/exchanges"
                | "/audit/events"
                | "/audit/legal-holds"
                | "/audit/redaction-policy"
                | "/audit/seals"
                | "/audit/proofs/{recordId}"
                | "/audit/export"
                | "/audit/verification",
            ) => Self::AuditRead,
            (
                "GET",
                "/alerts"
                | "/overview"
                | "/queues"
                | "/queues/pace"
                | "/queues/pulse"
                | "/queues/{queue}"
                | "/queues/{queue}/dead-count"
                | "/queues/{queue}/jobs"
                | "/queues/{queue}/pace"
                | "/queues/jobs/{jobId}"
                | "/schedules"
                | "/schedules/{name}/runs"
                | "/provider-accounts"
                | "/provider-accounts/{accountId}"
                | "/events/stats",
            ) => Self::OperationsRead,
            (
                "POST",
                "/queues/jobs/{jobId}/retry"
                | "/queues/{queue}/pause"
                | "/queues/{queue}/resume"
                | "/queues/{queue}/delete-dead"
                | "/queues/{queue}/retry-dead"
                | "/schedules/{name}/run"
                | "/schedules/{name}/pause"
                | "/schedules/{name}/resume",
            )
            | ("DELETE", "/queues/jobs/{jobId}")
            | ("PATCH", "/orders/{orderId}/comment") => Self::OperationsWrite,
            (
                "GET",
                "/tenants"
                | "/tenants/{tenantId}"
                | "/tenants/{tenantId}/members"
                | "/tenants/{tenantId}/members/{userId}/wallet"
                | "/tenants/{tenantId}/orders",
            ) => Self::TenantsRead,
            ("GET", "/auth/me") => Self::AccountRead,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_is_written_as_it_is_read() {
        for scope in Scope::ALL {
            assert_eq!(serde_json::to_value(scope).expect("JSON"), scope.as_str());
        }
        assert!(Scope::ALL.is_sorted(), "in the order of the alphabet");
        assert_eq!(Scope::of_route("HEAD", "/orders"), Some(Scope::OrdersRead));
        assert_eq!(Scope::of_route("POST", "/orders"), None, "no route");
    }
}
