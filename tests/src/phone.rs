//! A phone that speaks the protocol by hand: for tests that send what the real client never would.

use std::collections::HashMap;

use muster_sync_core::{
    ChangeHash, DeviceKey, DocumentId, DocumentName, Locator,
    change::{Author, Body, SignedChange, encode},
    document::{ChainTip, Code, Entry, KeyLevel, Request, RequestPurpose, Source, Submission, genesis},
    evidence::{DeviceFacts, MANIFEST_VERSION, Manifest, commitment},
    signing::{self, SigningKey, SoftwareKey},
    sync::message::{self, CONTENT_TYPE, Cursor, Fate, PROTOCOL_VERSION, Push, WireName},
    time::{Anchor, CaptureClocks},
};
use reqwest::Method;

use crate::{Client, Reply, TestServer};

/// The tenant of every test.
pub const TENANT: &str = "default";

/// A device key, its chains, and the account that it is signed in with.
pub struct Phone {
    /// The key.
    pub key: SoftwareKey,
    /// The signed-in account.
    pub client: Client,
    /// The newest change of each of its chains.
    pub tips: HashMap<DocumentId, ChainTip>,
}

/// Something to push.
#[derive(Debug, Clone)]
pub struct Item {
    /// The document.
    pub name: DocumentName,
    /// The change.
    pub signed: SignedChange,
    /// The manifest beside it.
    pub manifest: Option<Vec<u8>>,
}

/// A response that owns its parts.
#[derive(Debug)]
pub struct Answer {
    /// One per push.
    pub fates: Vec<Fate>,
    /// (document name, change, log index).
    pub changes: Vec<(DocumentName, Vec<u8>, u64)>,
    /// The new cursors.
    pub cursors: HashMap<String, u64>,
    /// Whether another page follows.
    pub more: bool,
    /// The anchor.
    pub anchor: Option<Anchor>,
    /// Images that the server wants.
    pub wanted: Vec<ChangeHash>,
    /// Size of the body in bytes.
    pub size_bytes: usize,
}

impl Phone {
    /// A phone whose key comes from a seed.
    pub fn new(client: Client, seed: u8) -> Self {
        Self { key: SoftwareKey::from_seed(&[seed; 32].into()), client, tips: HashMap::new() }
    }

    /// Its public key.
    pub fn public_key(&self) -> DeviceKey {
        self.key.public_key()
    }

    /// The attendance document of its user.
    pub fn attendance(&self, locator: Locator) -> DocumentName {
        DocumentName::Attendance { locator, student: self.client.user_id().to_owned() }
    }

    /// Signs an entry as the next one of its chain.
    pub fn write(&mut self, name: &DocumentName, entry: &Entry) -> SignedChange {
        let tip = self.tips.get(&name.id(TENANT)).copied();
        let author = Author { key: &self.key, tenant: TENANT, name, tip, time_s: 1_763_640_000 };
        let (signed, next) = author.append(entry).expect("a software key signs");
        self.tips.insert(name.id(TENANT), next);
        signed
    }

    /// A request to be bound.
    pub fn binding_request(&mut self, purpose: RequestPurpose) -> Item {
        let request = Request {
            key: self.public_key(),
            purpose,
            platform: Code::new("android").expect("a code"),
            model: None,
            level: KeyLevel::Software,
            legacy_id_hash: None,
            code_key_hash: None,
        };
        let name = DocumentName::DeviceBinding { user: self.client.user_id().to_owned() };
        Item { signed: self.write(&name, &request.into()), name, manifest: None }
    }

    /// A submission with a manifest of no images, captured at `captured_at_ms`.
    pub fn submission(&mut self, locator: Locator, code: &str, captured_at_ms: i64) -> Item {
        let manifest = manifest(captured_at_ms);
        self.submission_with(locator, code, captured_at_ms, &manifest)
    }

    /// A submission with this manifest.
    pub fn submission_with(&mut self, locator: Locator, code: &str, captured_at_ms: i64, manifest: &Manifest) -> Item {
        self.submission_of(locator, code, captured_at_ms, manifest.to_bytes())
    }

    /// A submission with a manifest as another program wrote it.
    pub fn submission_of(&mut self, locator: Locator, code: &str, captured_at_ms: i64, bytes: Vec<u8>) -> Item {
        let submission = Submission {
            captured_at_ms,
            code: Code::new(code),
            step: None,
            commitment: commitment(&bytes),
            schema: 1,
            source: Source::Phone,
            by: None,
        };
        let name = self.attendance(locator);
        Item { signed: self.write(&name, &submission.into()), name, manifest: Some(bytes) }
    }

    /// The body of a request that pushes `items`.
    pub fn body(&self, items: &[Item], cursors: &HashMap<String, u64>, pull: bool) -> Vec<u8> {
        let request = message::Request {
            version: PROTOCOL_VERSION,
            device: Some(self.public_key()),
            nonce: Some([7; 16]),
            cursors: cursors.iter().map(|(channel, number)| Cursor { channel, number: *number }).collect(),
            pushes: items.iter().map(push).collect(),
            pull,
            log: None,
        };
        minicbor::to_vec(&request).expect("encoding into memory does not fail")
    }

    /// Sends a body to the sync endpoint as it is.
    pub async fn send(&self, body: Vec<u8>) -> Reply {
        let request = self.client.request(Method::POST, "/api/v1/sync");
        Reply::of(request.header("content-type", CONTENT_TYPE).body(body)).await
    }

    /// Pushes, without pulling.
    pub async fn push(&self, items: &[Item]) -> Vec<Fate> {
        Answer::of(self.send(self.body(items, &HashMap::new(), false)).await).fates
    }

    /// Pulls one page.
    pub async fn pull(&self, cursors: &HashMap<String, u64>) -> Answer {
        Answer::of(self.send(self.body(&[], cursors, true)).await)
    }
}

/// As it travels.
fn push(item: &Item) -> Push<'_> {
    Push {
        name: WireName::new(&item.name),
        change: &item.signed.bytes,
        signature: item.signed.signature,
        manifest: item.manifest.as_deref(),
        code_key: None,
        sealed_manifest: None,
        receipt: None,
    }
}

/// A manifest without images or position.
pub fn manifest(wall_ms: i64) -> Manifest {
    Manifest {
        version: MANIFEST_VERSION,
        salt: [9; 32],
        images: Vec::new(),
        position: None,
        clocks: CaptureClocks { wall_ms, monotonic_ms: 1_000, boot_id: [1; 16], anchor: None },
        device: DeviceFacts::default(),
    }
}

impl Answer {
    /// Reads a successful reply.
    ///
    /// # Panics
    /// When it is not one.
    #[track_caller]
    pub fn of(reply: Reply) -> Self {
        assert_eq!(reply.status.as_u16(), 200, "{}", String::from_utf8_lossy(&reply.bytes));
        let response = message::Response::decode(&reply.bytes).expect("a sync response");
        let changes = response
            .changes
            .iter()
            .map(|pulled| (pulled.name.parse().expect("a document name"), pulled.change.to_vec(), pulled.log_index));
        Self {
            changes: changes.collect(),
            cursors: response.cursors.iter().map(|cursor| (cursor.channel.to_owned(), cursor.number)).collect(),
            more: response.more,
            anchor: response.anchor,
            wanted: response.wanted,
            fates: response.fates,
            size_bytes: reply.bytes.len(),
        }
    }
}

impl Phone {
    /// Asks to be bound, and has the request approved by an admin.
    pub async fn bind(&mut self, server: &TestServer) {
        let request = self.binding_request(RequestPurpose::Bind);
        let fates = self.push(std::slice::from_ref(&request)).await;
        assert!(fates[0].receipt.is_some(), "{fates:?}");
        let hash = self.tips[&request.name.id(TENANT)].hash;
        let admin = server.client("admin").await;
        let approve = format!("/api/v1/admin/device-requests/{hash}/approve");
        admin.post(&approve, &serde_json::json!({})).await.expect(200);
    }
}

/// Signs an entry as an attacker does, who asks nobody whether a reader would take it: [`Author::append`] refuses such.
pub fn sign_unread(author: &Author<'_>, entry: &Entry) -> (SignedChange, ChainTip) {
    let document = author.name.id(author.tenant);
    let tip = author.tip.unwrap_or_else(|| genesis::tip(document, author.name.kind()));
    let body = Body {
        writer: author.key.public_key(),
        document,
        seq: tip.seq + 1,
        start_op: tip.max_op + 1,
        time_s: author.time_s,
        dep: tip.hash,
        container_op: entry.container().op(),
        fields: entry.fields(),
    };
    let change = encode(&body);
    let hash = ChangeHash(change.hash().0);
    let signature = author.key.sign(&signing::change_message(document, hash)).expect("a key of a test signs");
    let next = ChainTip { seq: body.seq, hash, max_op: body.max_op() };
    (SignedChange { bytes: change.raw_bytes().to_vec(), signature }, next)
}
