//! Secrets that are recognised wherever they turn up, and the search for them.

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use waybill::{modules::kyc::identifiers::verhoeff_check_digit, platform::secret::sha256_hex};

use super::TestApp;

/// What is looked for, byte by byte, by its first two bytes: logs are long, and there are a hundred needles.
pub struct Search {
    needles: Vec<Needle>,
    begins: Vec<bool>,
}

struct Needle {
    name: String,
    bytes: Vec<u8>,
}

/// Place in [`Search::begins`].
fn begin(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes[at]) << 8 | usize::from(bytes[at + 1])
}

/// What may hold secrets all the same: fields of a collection, and why.
pub struct Kept {
    pub collection: &'static str,
    pub field: &'static str,
    pub why: &'static str,
}

#[derive(Clone, Debug)]
pub struct Secret {
    pub kind: &'static str,
    pub value: String,
}

/// One of each kind, well-formed, and nobody's. The password is one as password managers make them: one of plain words can't
/// be told from words.
pub fn marked() -> Vec<Secret> {
    let aadhaar = "73219408561";
    let secret = |kind, value: &str| Secret { kind, value: value.to_owned() };
    vec![
        secret("an access token", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c3JfbWFya2VkIn0.bm90LWEtc2lnbmF0dXJlLWJ1dC1sb25n"),
        secret("a refresh token", "Qm9keS1vZi1hLXJlZnJlc2gtdG9rZW4td2l0aC1pdHMtc2Vzc2lvbi1hbmQtbnVtYmVyIQ"),
        secret("a password", "Marked7Passw0rdOfNobody9"),
        secret("a PAN", "AKXPM7731Q"),
        secret("an Aadhaar number", &format!("{aadhaar}{}", verhoeff_check_digit(aadhaar).unwrap())),
        secret("an account number", "50100377119284"),
        secret("a card number", "4539148803436467"),
        secret("a provider's API key", "sk_live_Mk7Qw2Zx9Lp4Rt6Vb8Ny"),
        secret("a webhook secret", "whsec_Jd83KqPz51LmWx7RtYv2Bh"),
    ]
}

impl Search {
    /// For these, as they are.
    pub fn new(needles: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let needles: Vec<_> = needles.into_iter().map(|(name, bytes)| Needle { name, bytes }).collect();
        let mut begins = vec![false; 1 << 16];
        needles.iter().for_each(|needle| begins[begin(&needle.bytes, 0)] = true);
        Self { needles, begins }
    }

    /// For secrets in every spelling.
    pub fn of(secrets: &[Secret]) -> Self {
        let spelled = secrets.iter().flat_map(|secret| {
            let named = move |(spelling, bytes)| (format!("{} as {spelling}", secret.kind), bytes);
            spellings(&secret.value).into_iter().map(named)
        });
        Self::new(spelled)
    }

    /// The first secret in `bytes`: its name, and what is around it.
    pub fn find(&self, bytes: &[u8]) -> Option<(String, String)> {
        let mut at = 0;
        while at + 1 < bytes.len() {
            if self.begins[begin(bytes, at)]
                && let Some(needle) = self.needles.iter().find(|needle| bytes[at..].starts_with(&needle.bytes))
            {
                let around = &bytes[at.saturating_sub(200)..bytes.len().min(at + 200)];
                return Some((needle.name.clone(), String::from_utf8_lossy(around).into_owned()));
            }
            at += 1;
        }
        None
    }

    /// None of them is in these bytes.
    #[track_caller]
    pub fn expect_clean(&self, what: &str, bytes: &[u8]) {
        if let Some((name, around)) = self.find(bytes) {
            panic!("{name} is in {what}: ...{around}...");
        }
    }
}

/// All ways in which a secret could be written down; each with its bytes.
pub fn spellings(secret: &str) -> Vec<(String, Vec<u8>)> {
    let mut texts = vec![secret.to_owned(), hex::encode(secret), percent_encoded(secret)];
    let is_short = secret.len() < 20;
    if is_short {
        // A plain digest of so few possible numbers is the number.
        texts.extend([secret.to_lowercase(), sha256_hex(secret.as_bytes())]);
    }
    let is_number = secret.bytes().all(|b| b.is_ascii_digit());
    if is_number {
        let groups: Vec<&str> =
            (0..secret.len()).step_by(4).map(|at| &secret[at..(at + 4).min(secret.len())]).collect();
        texts.extend([" ", "-", "%20", "+", "\u{a0}"].map(|separator| groups.join(separator)));
    }
    texts.sort();
    texts.dedup();
    let mut all: Vec<_> = texts.into_iter().map(|text| (text.clone(), text.into_bytes())).collect();
    if let Some(number) = secret.parse::<i64>().ok().filter(|_| is_number) {
        all.push((format!("{secret}_i64"), number.to_le_bytes().to_vec()));
        all.push((format!("{secret}_f64"), (number as f64).to_le_bytes().to_vec()));
    }
    all
}

pub fn percent_encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

impl TestApp {
    /// No document of any collection has one of them, as it is stored or as it is printed, but where it may be kept; gives how
    /// many documents there are.
    pub async fn expect_clean_database(&self, search: &Search, kept: &[Kept]) -> usize {
        let mut looked_at = 0;
        for collection in self.db().list_collection_names().await.unwrap() {
            for document in self.documents(&collection).await {
                let document = without(document, &collection, kept);
                search.expect_clean(&collection, &bson::serialize_to_vec(&document).unwrap());
                let printed = Bson::Document(document).into_relaxed_extjson().to_string();
                search.expect_clean(&collection, printed.as_bytes());
                looked_at += 1;
            }
        }
        looked_at
    }

    /// Whether some document of the collection has one of them.
    pub async fn holds_secret(&self, search: &Search, collection: &str) -> bool {
        let documents = self.documents(collection).await;
        documents.iter().any(|document| search.find(&bson::serialize_to_vec(document).unwrap()).is_some())
    }

    async fn documents(&self, collection: &str) -> Vec<Document> {
        let documents = self.db().collection::<Document>(collection).find(doc! {}).await.unwrap();
        documents.try_collect().await.unwrap()
    }
}

fn without(mut document: Document, collection: &str, kept: &[Kept]) -> Document {
    for Kept { field, why, .. } in kept.iter().filter(|kept| kept.collection == collection) {
        assert!(!why.is_empty(), "{field} is kept for no reason");
        remove(&mut document, field);
    }
    document
}

fn remove(document: &mut Document, path: &str) {
    let Some((first, rest)) = path.split_once('.') else {
        document.remove(path);
        return;
    };
    match document.get_mut(first) {
        Some(Bson::Document(inner)) => remove(inner, rest),
        Some(Bson::Array(entries)) => {
            entries.iter_mut().filter_map(Bson::as_document_mut).for_each(|entry| remove(entry, rest));
        }
        _ => {}
    }
}
