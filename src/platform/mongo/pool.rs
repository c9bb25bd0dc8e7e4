//! Metrics of connection pools.

use mongodb::event::{EventHandler, cmap::CmapEvent};

/// Counts connections, and times how long operations wait for one.
pub(super) fn observe() -> EventHandler<CmapEvent> {
    EventHandler::callback(|event| match event {
        CmapEvent::ConnectionCreated(_) => metrics::gauge!("waybill_mongodb_connections").increment(1.0),
        CmapEvent::ConnectionClosed(_) => metrics::gauge!("waybill_mongodb_connections").decrement(1.0),
        CmapEvent::ConnectionCheckedOut(out) => {
            metrics::gauge!("waybill_mongodb_connections_in_use").increment(1.0);
            metrics::histogram!("waybill_mongodb_checkout_seconds").record(out.duration);
        }
        CmapEvent::ConnectionCheckedIn(_) => metrics::gauge!("waybill_mongodb_connections_in_use").decrement(1.0),
        CmapEvent::ConnectionCheckoutFailed(_) => {
            metrics::counter!("waybill_mongodb_checkout_failures_total").increment(1);
        }
        _ => {}
    })
}
