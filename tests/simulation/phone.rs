//! A phone: the real store and sync client, a disk that can fail, and clocks that are wrong.

use std::sync::{Arc, OnceLock};

use muster_sync_core::{
    ChangeHash, Locator,
    document::{Code, KeyLevel, RequestPurpose},
    evidence::{DeviceFacts, ImagePurpose},
    signing::{SigningKey, SoftwareKey},
    store::{Account, BindingFacts, CaptureImage, CaptureInput, DeviceStore, PhoneClocks, RecordId, StoreError},
    sync::client::{Arrival, SyncClient},
    time::session_code::CodeKey,
};

use crate::dice::Dice;
use crate::disk::Disk;
use crate::server::{NOON_MS, TENANT, Template};
use crate::vfs;

/// What becomes of a phone's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Bound sooner or later, and for good.
    Bound,
    /// Nobody ever approves it.
    NeverApproved,
    /// Bound, and revoked later.
    Revoked,
    /// Two phones have one key: one of them is a copy.
    Cloned,
}

/// One phone.
pub(crate) struct Phone {
    pub(crate) name: String,
    pub(crate) person: usize,
    pub(crate) standing: Standing,
    pub(crate) key: SoftwareKey,
    seed: [u8; 32],
    pub(crate) disk: Arc<Disk>,
    pub(crate) path: String,
    /// Nothing while the phone is off.
    pub(crate) store: Option<DeviceStore>,
    pub(crate) client: SyncClient,
    pub(crate) token: Option<String>,
    /// How far the wall clock is ahead.
    pub(crate) wall_offset_ms: i64,
    boot_id: [u8; 16],
    booted_at_ms: u64,
    /// Only the newest plan to act counts.
    pub(crate) generation: u64,
    /// The request that is under way.
    pub(crate) waiting_for: Option<u64>,
    /// Whether that is an image.
    pub(crate) is_uploading: bool,
    pub(crate) offline_until_ms: u64,
    /// Captures that the store has confirmed: they must never be gone.
    pub(crate) captured: Vec<RecordId>,
    /// The request to be bound.
    pub(crate) request: Option<ChangeHash>,
    /// Whether an admin has approved it.
    pub(crate) approved: bool,
}

/// A store with nothing in it but its tables.
fn template() -> std::collections::BTreeMap<String, Vec<u8>> {
    static FILES: OnceLock<std::collections::BTreeMap<String, Vec<u8>>> = OnceLock::new();
    let make = || {
        let disk = Disk::with(Default::default());
        let path = "/simulation/template-phone.db";
        vfs::mount(path, &disk);
        drop(DeviceStore::open(path).expect("a fresh store"));
        vfs::unmount(path);
        disk.image()
    };
    FILES.get_or_init(make).clone()
}

impl Phone {
    /// A phone of a person who has signed in once and asks to be bound.
    pub(crate) fn new(world: &str, name: &str, person: usize, standing: Standing, dice: &mut Dice) -> Self {
        let seed = dice.bytes();
        let mut phone = Self::with(world, name, person, standing, seed, Disk::with(template()), dice);
        phone.open().expect("a fresh store opens");
        let store = phone.store.as_mut().expect("it is open");
        let user = Template::get().user(person);
        store.set_account(&Account { tenant: TENANT.to_owned(), user }).expect("an account");
        store.pin_server_key(Template::get().server_key).expect("a server key");
        let facts = BindingFacts {
            platform: Code::new("android").expect("a code"),
            model: None,
            level: KeyLevel::Software,
            legacy_id_hash: None,
        };
        let code_key = crate::server::LECTURERS.contains(&person).then(|| CodeKey(dice.bytes()));
        let request = store.bind_request(&phone.key, &facts, RequestPurpose::Bind, code_key.as_ref(), NOON_MS);
        phone.request = Some(request.expect("a request"));
        phone
    }

    fn with(
        world: &str,
        name: &str,
        person: usize,
        standing: Standing,
        seed: [u8; 32],
        disk: Arc<Disk>,
        dice: &mut Dice,
    ) -> Self {
        let path = format!("/simulation/{world}-{name}.db");
        vfs::mount(&path, &disk);
        Self {
            name: name.to_owned(),
            person,
            standing,
            key: SoftwareKey::from_seed(&seed.into()),
            seed,
            disk,
            path,
            store: None,
            client: SyncClient::new(),
            token: None,
            wall_offset_ms: 0,
            boot_id: dice.bytes(),
            booted_at_ms: 0,
            generation: 0,
            waiting_for: None,
            is_uploading: false,
            offline_until_ms: 0,
            captured: Vec::new(),
            request: None,
            approved: false,
        }
    }

    /// A copy of this phone, with everything that is on it.
    pub(crate) fn copied(&self, world: &str, name: &str, dice: &mut Dice) -> Self {
        let disk = Disk::with(self.disk.image());
        let mut copy = Self::with(world, name, self.person, Standing::Cloned, self.seed, disk, dice);
        copy.approved = self.approved;
        copy
    }

    /// Opens the store, as the app does when it starts.
    pub(crate) fn open(&mut self) -> Result<(), StoreError> {
        self.store = Some(DeviceStore::open(&self.path)?);
        self.client = SyncClient::new();
        self.waiting_for = None;
        Ok(())
    }

    /// Everything but the file is gone.
    pub(crate) fn close(&mut self) {
        self.store = None;
        self.waiting_for = None;
        self.generation += 1;
    }

    /// The phone itself starts anew: another boot, another monotonic clock.
    pub(crate) fn boot(&mut self, now_ms: u64, dice: &mut Dice) -> Result<(), StoreError> {
        self.boot_id = dice.bytes();
        self.booted_at_ms = now_ms;
        self.open()
    }

    pub(crate) fn monotonic_ms(&self, now_ms: u64) -> u64 {
        now_ms - self.booted_at_ms + 1_000
    }

    /// The time of the simulation at which the monotonic clock shows this.
    pub(crate) fn at_monotonic(&self, monotonic_ms: u64) -> u64 {
        (monotonic_ms + self.booted_at_ms).saturating_sub(1_000)
    }

    pub(crate) fn wall_ms(&self, now_ms: u64) -> i64 {
        NOON_MS + now_ms as i64 + self.wall_offset_ms
    }

    pub(crate) fn arrival(&self, now_ms: u64) -> Arrival {
        Arrival { monotonic_ms: self.monotonic_ms(now_ms), boot_id: self.boot_id }
    }

    /// Captures a presence.
    pub(crate) fn capture(
        &mut self,
        locator: Locator,
        code: Option<Code>,
        now_ms: u64,
        dice: &mut Dice,
    ) -> Result<RecordId, StoreError> {
        let images = if dice.percent(30) {
            vec![CaptureImage { purpose: ImagePurpose::Selfie, bytes: picture(dice) }]
        } else {
            Vec::new()
        };
        let clocks = PhoneClocks {
            wall_ms: self.wall_ms(now_ms),
            monotonic_ms: self.monotonic_ms(now_ms),
            boot_id: self.boot_id,
        };
        let device = DeviceFacts { platform: "android".to_owned(), ..DeviceFacts::default() };
        let input =
            CaptureInput { locator, code, step: None, position: None, images, clocks, device, salt: dice.bytes() };
        let store = self.store.as_mut().expect("the phone is on");
        let record = store.capture(&self.key, &input)?;
        self.captured.push(record);
        Ok(record)
    }

    pub(crate) fn is_lecturer(&self) -> bool {
        crate::server::LECTURERS.contains(&self.person)
    }

    pub(crate) fn public_key(&self) -> muster_sync_core::DeviceKey {
        self.key.public_key()
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.store = None;
        vfs::unmount(&self.path);
    }
}

/// A small picture that no other capture has.
fn picture(dice: &mut Dice) -> Vec<u8> {
    let pixels = image::RgbImage::from_fn(8, 8, |_, _| image::Rgb(dice.bytes()));
    let mut bytes = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut bytes, image::ImageFormat::Png).expect("a picture");
    bytes.into_inner()
}
