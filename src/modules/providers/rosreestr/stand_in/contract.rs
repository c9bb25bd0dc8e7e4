//! The shape of a call. Every deviation goes into the books: a cadastral number that lost a zero is another property.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    contract::{self, Deviation, Fields, Shape},
    stand::Call,
};

/// The gateway's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Place,
    LookUp,
    Poll,
    Download,
}

/// A call, as far as it can be read; empty is what it does not say.
pub struct Request {
    pub operation: Operation,
    pub account: String,
    pub request_id: String,
    /// `info`, `base` or `ownership`.
    pub kind: String,
    pub cadastral_number: String,
    pub docflow_id: String,
    pub file_id: String,
}

const PLACE: Fields = &[("requestId", Shape::Text(250)), ("options", Shape::Object(OPTIONS))];

const OPTIONS: Fields = &[
    ("type", Shape::OneOf(&["info", "base", "ownership"])),
    ("cadastralNumber", Shape::Like(is_cadastral_number, "spelled like a cadastral number")),
];

/// Takes what is there, right or wrong, and says everything that is wrong with it.
pub fn read(operation: Operation, call: &Call) -> (Request, Vec<Deviation>) {
    let mut request = Request {
        operation,
        account: call.account.clone(),
        request_id: contract::text_in(&call.body, "requestId").unwrap_or_default(),
        kind: String::new(),
        cadastral_number: String::new(),
        docflow_id: call.parameter("docflowId"),
        file_id: call.parameter("fileId"),
    };
    let found = match operation {
        Operation::Place => {
            let (body, found) = contract::check_body(&call.headers, &call.body, PLACE);
            let option = |name: &str| body["options"][name].as_str().unwrap_or_default().to_owned();
            (request.kind, request.cadastral_number) = (option("type"), option("cadastralNumber"));
            found
        }
        Operation::LookUp => {
            let asked = contract::only_parameter(&call.uri, "requestId");
            asked.map(|request_id| request.request_id = request_id).err().into_iter().collect()
        }
        Operation::Poll | Operation::Download => vec![],
    };
    (request, found)
}

/// `50:33:0000000:98325`: two digits, two, five to seven, any number of them.
fn is_cadastral_number(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    let lengths: Vec<_> = text.split(':').map(str::len).collect();
    let digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
    digits && matches!(lengths[..], [2, 2, 5..=7, last] if last > 0)
}
