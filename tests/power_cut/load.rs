//! Many phones at once, until the power goes: what was acknowledged to them, and what they still wait for.

use std::cell::RefCell;
use std::io::Cursor;
use std::net::SocketAddr;
use std::rc::Rc;

use data_encoding::HEXLOWER;
use image::{ImageFormat, Rgb, RgbImage};
use muster_server::clock::Stopwatch;
use muster_sync_core::evidence::{ImagePurpose, ImageRef, ImageType};
use muster_sync_core::sync::message::{FateKind, Response};
use muster_sync_core::time::Receipt;
use muster_sync_core::{ChangeHash, DeviceKey, DocumentId};
use muster_tests::campus::{Campus, Session, Student, capture_with};
use muster_tests::phone::{Item, TENANT};
use muster_tests::wire::{Connection, post_sync, put_blob};
use sha2::{Digest, Sha256};
use tokio::task::LocalSet;

use crate::Result;
use crate::dice::Dice;

/// Connections that push at the same time.
pub(crate) const CONNECTIONS: usize = 12;
/// Records of one push.
const PUSHES: [usize; 6] = [1, 1, 2, 5, 20, 50];

/// A record, and what the server promised about it.
#[derive(Clone)]
pub(crate) struct Record {
    /// Whose it is.
    pub(crate) student: usize,
    /// The document.
    pub(crate) document: DocumentId,
    /// The change.
    pub(crate) hash: ChangeHash,
    /// To push it again.
    pub(crate) item: Item,
    /// Which picture it names.
    pub(crate) picture: u64,
    /// The promise, once there is one.
    pub(crate) receipt: Option<Receipt>,
}

/// An acknowledged upload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upload {
    /// Whose it is.
    pub(crate) student: usize,
    /// The record that names it.
    pub(crate) document: DocumentId,
    /// Which picture.
    pub(crate) picture: u64,
}

/// What one stretch of load gave.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Records with receipts.
    pub(crate) acked: Vec<Record>,
    /// Uploads that were acknowledged.
    pub(crate) uploads: Vec<Upload>,
    /// Records whose answer did not come.
    pub(crate) in_flight: Vec<Record>,
    /// What should never happen.
    pub(crate) wrong: Vec<String>,
}

/// The phones between two cuts.
pub(crate) struct Phones {
    /// The world.
    pub(crate) campus: Campus,
    /// How many sessions each student has captured.
    captured: Vec<usize>,
    n_pictures: u64,
}

impl Phones {
    /// Everybody, with nothing captured.
    pub(crate) fn new(campus: Campus) -> Self {
        let captured = vec![0; campus.students.len()];
        Self { campus, captured, n_pictures: 0 }
    }

    /// The next records of a student; fewer when the sessions run out.
    fn capture(&mut self, student: usize, n_records: usize) -> Result<Vec<Record>> {
        let Campus { students, sessions, server_key, now_ms, .. } = &mut self.campus;
        let first = self.captured[student];
        let last = (first + n_records).min(sessions.len());
        self.captured[student] = last;
        let mut records = Vec::with_capacity(n_records);
        for session in &sessions[first..last] {
            self.n_pictures += 1;
            records.push(record(&mut students[student], student, session, self.n_pictures, (*server_key, *now_ms))?);
        }
        Ok(records)
    }

    /// The token of a student.
    pub(crate) fn token(&self, student: usize) -> &str {
        self.campus.students[student].token()
    }

    /// A request that pushes records of one student.
    pub(crate) fn push<'a>(&self, student: usize, records: impl Iterator<Item = &'a Record>) -> Vec<u8> {
        let items: Vec<Item> = records.map(|record| record.item.clone()).collect();
        let body = self.campus.students[student].phone.body(&items, &Default::default(), false);
        post_sync(self.token(student), &body, "")
    }
}

fn record(
    student: &mut Student,
    index: usize,
    session: &Session,
    picture: u64,
    (server, now_ms): (DeviceKey, i64),
) -> Result<Record> {
    let bytes = draw_picture(picture);
    let selfie = ImageRef {
        purpose: ImagePurpose::Selfie,
        sha256: Sha256::digest(&bytes).into(),
        size_bytes: bytes.len() as u64,
        image_type: ImageType::Png,
    };
    let item = capture_with(student, session, selfie, server, now_ms)?;
    let hash = muster_sync_core::change::inspect(&item.signed.bytes)?.hash;
    Ok(Record { student: index, document: item.name.id(TENANT), hash, item, picture, receipt: None })
}

/// The bytes of a picture that only this number has; every tenth is large.
pub(crate) fn draw_picture(number: u64) -> Vec<u8> {
    let side = if number.is_multiple_of(10) { 160 } else { 8 };
    let mut dice = Dice::new(number);
    let noise = RgbImage::from_fn(side, side, |_, _| Rgb([dice.below(256) as u8, dice.below(256) as u8, 90]));
    let mut bytes = Cursor::new(Vec::new());
    noise.write_to(&mut bytes, ImageFormat::Png).expect("memory takes it");
    bytes.into_inner()
}

/// How an upload of a picture begins.
pub(crate) fn upload(token: &str, picture: u64) -> Vec<u8> {
    let bytes = draw_picture(picture);
    put_blob(token, &HEXLOWER.encode(&Sha256::digest(&bytes)), &bytes)
}

/// Lets everybody push until the server is gone; `cut` is called beside them and takes the power away.
pub(crate) fn run(
    phones: Phones,
    address: SocketAddr,
    dice: &mut Dice,
    cut: impl Future<Output = Result<()>> + 'static,
) -> Result<(Phones, Outcome)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let phones = Rc::new(RefCell::new(phones));
    let outcome = Rc::new(RefCell::new(Outcome::default()));
    let mut workers = Vec::with_capacity(CONNECTIONS);
    for index in 0..CONNECTIONS {
        let (phones, outcome, dice) = (Rc::clone(&phones), Rc::clone(&outcome), Dice::new(dice.below(u64::MAX)));
        workers.push(work(phones, outcome, address, index, dice));
    }
    let local = LocalSet::new();
    let together = local.run_until(async move {
        let workers: Vec<_> = workers.into_iter().map(tokio::task::spawn_local).collect();
        cut.await?;
        for worker in workers {
            worker.await??;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    });
    runtime.block_on(together)?;
    drop(local);
    let phones = Rc::into_inner(phones).ok_or("a phone outlived the server")?.into_inner();
    Ok((phones, outcome.take()))
}

/// One connection: its students push, and upload what they pushed, until the server does not answer any more.
async fn work(
    phones: Rc<RefCell<Phones>>,
    outcome: Rc<RefCell<Outcome>>,
    address: SocketAddr,
    index: usize,
    mut dice: Dice,
) -> std::result::Result<(), String> {
    let n_students = phones.borrow().campus.students.len();
    let mine: Vec<usize> = (0..n_students).filter(|student| student % CONNECTIONS == index).collect();
    let Ok(mut connection) = Connection::open(address).await else { return Ok(()) };
    loop {
        let student = dice.pick(&mine);
        let captured = phones.borrow_mut().capture(student, dice.pick(&PUSHES));
        let records = captured.map_err(|error| error.to_string())?;
        if records.is_empty() {
            return Err("the class sessions ran out; plan more of them".into());
        }
        let request = phones.borrow().push(student, records.iter());
        let reply = match connection.exchange(&request, Stopwatch::start()).await {
            Ok(reply) => reply,
            Err(error) => {
                let mut outcome = outcome.borrow_mut();
                outcome.in_flight.extend(records);
                outcome.wrong.extend(refusal(&*error));
                return Ok(());
            }
        };
        let server = phones.borrow().campus.server_key;
        let acked = match accept(records, reply.body(), server) {
            Ok(acked) => acked,
            Err(error) => {
                outcome.borrow_mut().wrong.push(error);
                return Ok(());
            }
        };
        let uploaded = dice.pick(&acked.iter().collect::<Vec<_>>()).clone();
        outcome.borrow_mut().acked.extend(acked);
        if dice.below(2) == 0 {
            let request = upload(phones.borrow().token(student), uploaded.picture);
            if let Err(error) = connection.exchange(&request, Stopwatch::start()).await {
                outcome.borrow_mut().wrong.extend(refusal(&*error));
                return Ok(());
            }
            let Record { student, document, picture, .. } = uploaded;
            outcome.borrow_mut().uploads.push(Upload { student, document, picture });
        }
    }
}

/// A server may vanish, and may say that it is stopping; any other answer to an honest phone is wrong.
fn refusal(error: &dyn std::error::Error) -> Option<String> {
    let text = error.to_string();
    (text.starts_with("the server says") && !text.contains("HTTP/1.1 503")).then_some(text)
}

/// The records with the receipts of a reply, which must accept all of them.
pub(crate) fn accept(records: Vec<Record>, body: &[u8], server: DeviceKey) -> std::result::Result<Vec<Record>, String> {
    let response = Response::decode(body).map_err(|error| error.to_string())?;
    if response.fates.len() != records.len() {
        return Err("a reply without a fate for every push".to_owned());
    }
    let mut accepted = Vec::with_capacity(records.len());
    for (mut record, fate) in records.into_iter().zip(response.fates) {
        match fate.receipt {
            Some(receipt) if fate.kind == FateKind::Accepted => {
                receipt.verify(&server, record.document, record.hash).map_err(|error| error.to_string())?;
                record.receipt = Some(receipt);
                accepted.push(record);
            }
            _ => return Err(format!("an honest record was not accepted: {fate:?}")),
        }
    }
    Ok(accepted)
}
