//! A phone: a store in a file, a key, a sync client and a clock that the test moves.

use crate::peer::{Peer, TENANT};
use muster_sync_core::{
    DocumentName, Locator,
    document::Code,
    evidence::{DeviceFacts, ImagePurpose, Position},
    signing::{SigningKey, SoftwareKey},
    store::*,
    sync::client::*,
};
use std::path::PathBuf;

pub(crate) struct Phone {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: DeviceStore,
    pub(crate) key: SoftwareKey,
    pub(crate) client: SyncClient,
    pub(crate) now_ms: u64,
    pub(crate) nonce: u8,
}

pub(crate) const STUDENT: &str = "student-1";

/// The start of a JPEG; nobody decodes it here.
pub(crate) fn jpeg(seed: u8) -> Vec<u8> {
    [[0xff, 0xd8, 0xff, 0xe0].as_slice(), &[seed; 400]].concat()
}

/// The locator of the `index`th class session.
pub(crate) fn locator(index: u32) -> Locator {
    Locator::from_random((index << 2).to_be_bytes())
}

pub(crate) fn attendance(index: u32) -> DocumentName {
    DocumentName::Attendance { locator: locator(index), student: STUDENT.into() }
}

pub(crate) fn input(index: u32) -> CaptureInput {
    CaptureInput {
        locator: locator(index),
        code: Code::new("123456"),
        step: Some(117_576_000),
        position: Some(Position {
            latitude_e7: 407_128_000,
            longitude_e7: -740_060_000,
            accuracy_m: 12,
            mocked: false,
        }),
        images: vec![CaptureImage { purpose: ImagePurpose::Selfie, bytes: jpeg(index as u8) }],
        clocks: PhoneClocks { wall_ms: 1_763_640_000_000 + i64::from(index), monotonic_ms: 1_000, boot_id: [1; 16] },
        device: DeviceFacts { platform: "android".into(), ..DeviceFacts::default() },
        salt: [index as u8; 32],
    }
}

/// What the server answers when it keeps an image.
pub(crate) fn kept(sha256: &[u8; 32]) -> Vec<u8> {
    let hex = data_encoding::HEXLOWER.encode(sha256);
    format!(r#"{{"sha256":"{hex}","size_bytes":404,"media_type":"image/jpeg"}}"#).into_bytes()
}

impl Phone {
    pub(crate) fn new(peer: &Peer) -> Self {
        Self::with_key(peer, 1, STUDENT)
    }

    pub(crate) fn with_key(peer: &Peer, seed: u8, user: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut store = DeviceStore::open(dir.path().join("muster.db")).unwrap();
        store.set_account(&Account { tenant: TENANT.into(), user: user.into() }).unwrap();
        store.pin_server_key(peer.key.public_key()).unwrap();
        let key = SoftwareKey::from_seed(&[seed; 32].into());
        Self { dir, store, key, client: SyncClient::new(), now_ms: 1_000, nonce: 0 }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("muster.db")
    }

    /// As after a crash: everything but the file is gone.
    pub(crate) fn restart(&mut self) {
        self.store = DeviceStore::open(self.path()).unwrap();
        self.client = SyncClient::new();
        self.now_ms = 500;
    }

    pub(crate) fn capture(&mut self, index: u32) -> RecordId {
        self.store.capture(&self.key, &input(index)).unwrap()
    }

    pub(crate) fn next(&mut self) -> Action {
        self.nonce = self.nonce.wrapping_add(1);
        self.client.next_action(&mut self.store, &self.key, self.now_ms, [self.nonce; 16]).unwrap()
    }

    /// The next action, which is an exchange: its bytes.
    #[track_caller]
    pub(crate) fn next_exchange(&mut self) -> Vec<u8> {
        match self.next() {
            Action::Exchange(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn answered(&mut self, status: u16, retry_after_ms: Option<u64>, body: Vec<u8>) -> Report {
        let answer = Answer { status, retry_after_ms, body };
        let arrival = Arrival { monotonic_ms: self.now_ms, boot_id: [1; 16] };
        self.client.exchange_answered(&mut self.store, &self.key, &answer, arrival, u64::MAX).unwrap()
    }

    /// Does whatever is to do, waiting as told, until nothing is left.
    pub(crate) fn sync(&mut self, peer: &mut Peer) -> Report {
        let mut sum = Report::default();
        self.client.wake();
        for _ in 0..400 {
            match self.next() {
                Action::Exchange(bytes) => {
                    let answer = peer.exchange(&bytes);
                    let report = self.answered(200, None, answer);
                    assert_eq!(report.problem, None);
                    sum.accepted += report.accepted;
                    sum.quarantined += report.quarantined;
                    sum.refused += report.refused;
                    sum.retried += report.retried;
                    sum.pulled += report.pulled;
                }
                Action::UploadBlob { sha256, bytes, .. } => {
                    assert!(bytes.len() > 100);
                    peer.images.insert(sha256);
                    let answer = Answer { status: 201, retry_after_ms: None, body: kept(&sha256) };
                    self.client.upload_answered(&mut self.store, &answer, self.now_ms, 0).unwrap();
                }
                Action::Wait { until_ms } => self.now_ms = until_ms,
                Action::Idle => return sum,
                Action::NeedsLogin => panic!("needs login"),
            }
        }
        panic!("the phone never comes to rest");
    }

    #[track_caller]
    pub(crate) fn status(&self, id: RecordId) -> RecordStatus {
        self.record(id).status
    }

    #[track_caller]
    pub(crate) fn record(&self, id: RecordId) -> RecordView {
        self.store.record(id).unwrap().unwrap()
    }
}
