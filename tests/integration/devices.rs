//! Devices: asking to be bound, answering, and what a bound key is known for.

use muster_server::db::{DbError, Tx};
use muster_server::devices::{self, DeviceStatus};
use muster_server::ids::TenantId;
use muster_server::log::{self, Channel};
use muster_sync_core::change::{Author, validate};
use muster_sync_core::document::{
    Binding, BindingAction, ChainTip, Code, Entry, KeyLevel, Label, Request, RequestPurpose, Reset, ResetAction,
};
use muster_sync_core::signing::{SigningKey, SoftwareKey};
use muster_sync_core::{ChangeHash, DeviceKey, DocumentName};
use muster_tests::TestServer;
use std::cell::Cell;

const NOON_MS: i64 = 1_763_640_000_000;

/// A phone, with where its chain in its owner's binding document ends.
struct Phone {
    key: SoftwareKey,
    tip: Cell<Option<ChainTip>>,
}

impl Phone {
    fn new(seed: u8) -> Self {
        Self { key: SoftwareKey::from_seed(&[seed; 32].into()), tip: Cell::new(None) }
    }

    fn key(&self) -> DeviceKey {
        self.key.public_key()
    }

    fn request(&self) -> Request {
        Request {
            key: self.key(),
            purpose: RequestPurpose::Bind,
            platform: Code::new("android").unwrap(),
            model: Label::new("Pixel 9"),
            level: KeyLevel::Hardware,
            legacy_id_hash: None,
            code_key_hash: None,
        }
    }

    /// Appends an entry to the document of `user` past every check of who may, as if `sync` had admitted it.
    async fn project(&self, server: &TestServer, user: &str, entry: impl Into<Entry>) -> ChangeHash {
        let tenant = TenantId::default_tenant();
        let name = DocumentName::DeviceBinding { user: user.to_owned() };
        let author = Author {
            key: &self.key,
            tenant: tenant.as_str(),
            name: &name,
            tip: self.tip.get(),
            time_s: NOON_MS / 1000,
        };
        let (signed, tip) = author.append(&entry.into()).unwrap();
        self.tip.set(Some(tip));
        let valid = validate(tenant.as_str(), &name, &signed.bytes, &signed.signature).unwrap();
        let hash = valid.hash;
        let written = server.app().db.write(move |tx: &Tx<'_>| {
            let appended = log::append(tx, &tenant, &name, &valid, &signed, NOON_MS, &[Channel::Admin])?;
            devices::project(tx, &appended, None)
        });
        written.await.map_err(|error: DbError| error).unwrap();
        hash
    }
}

fn decided(action: BindingAction, key: DeviceKey, of: Option<ChangeHash>) -> Binding {
    Binding { key, action, of, reason: Code::new("seen_in_person"), by: Label::new("an-admin").unwrap() }
}

async fn owner(server: &TestServer, key: DeviceKey) -> Option<(String, DeviceStatus)> {
    let tenant = TenantId::default_tenant();
    let read = server.app().db.read(move |tx: &Tx<'_>| devices::owner_of(tx, &tenant, &key));
    let owner = read.await.map_err(|error: DbError| error).unwrap();
    owner.map(|owner| (owner.user.to_string(), owner.status))
}

#[tokio::test]
async fn a_binding_that_an_admins_phone_signed_binds_once_and_only_a_reset_replaces_it() {
    let server = TestServer::start().await;
    let student = server.create_user("s@uni.example", "student").await;
    let (first, second, admin) = (Phone::new(1), Phone::new(2), Phone::new(9));
    let server = &server;

    let asked = first.project(server, &student, first.request()).await;
    assert_eq!(owner(server, first.key()).await, None);
    admin.project(server, &student, decided(BindingAction::Bind, first.key(), Some(asked))).await;
    assert_eq!(owner(server, first.key()).await, Some((student.clone(), DeviceStatus::Bound)));

    let asked = second.project(server, &student, second.request()).await;
    admin.project(server, &student, decided(BindingAction::Bind, second.key(), Some(asked))).await;
    assert_eq!(owner(server, second.key()).await, None, "a plain binding does not replace a student's device");

    let reset = Reset { of: asked, action: ResetAction::Approve, reason: None, by: Label::new("an-admin").unwrap() };
    admin.project(server, &student, reset.clone()).await;
    assert_eq!(owner(server, first.key()).await, Some((student.clone(), DeviceStatus::Revoked)));
    assert_eq!(owner(server, second.key()).await, Some((student.clone(), DeviceStatus::Bound)));

    admin.project(server, &student, decided(BindingAction::Revoke, second.key(), None)).await;
    admin.project(server, &student, reset).await;
    admin.project(server, &student, decided(BindingAction::Bind, second.key(), Some(asked))).await;
    let second_owner = owner(server, second.key()).await;
    assert_eq!(second_owner, Some((student, DeviceStatus::Revoked)), "an old answer brings nothing back");
}
