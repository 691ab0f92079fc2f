//! One contract over both blob stores, the S3 one against a real S3 server on loopback; then what each must do alone.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a failure is a failed test")]

use std::convert::Infallible;
use std::fs;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use muster_server::blobs::crypt::{Context, MasterKey, Purpose, SubjectKey};
use muster_server::blobs::{BLOB_BYTES_MAX, BlobError, BlobKey, BlobStore, DiskStore, S3Config, S3Store};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub(crate) const ACCESS_KEY: &str = "muster-access";
pub(crate) const SECRET_KEY: &str = "muster-secret-that-must-not-show";

fn key(subject: &str, plain: &[u8]) -> BlobKey {
    BlobKey::of("uni-a", subject, plain).unwrap()
}

/// What every store promises.
async fn contract(store: &dyn BlobStore) {
    store.health().await.unwrap();
    let (mine, others) = (key("student-1", b"x"), key("student-2", b"x"));

    // What was never put is not an error.
    assert_eq!(store.get(&mine, 100).await.unwrap(), None);
    assert!(!store.exists(&mine).await.unwrap());
    store.delete(&mine).await.unwrap();

    // Put, also twice, and the newest wins: a blob sealed again is other bytes under the same key.
    for sealed in [&b"first seal"[..], b"first seal", b"second seal", b""] {
        store.put(&mine, sealed.to_vec().into()).await.unwrap();
        assert!(store.exists(&mine).await.unwrap());
        assert_eq!(store.get(&mine, 100).await.unwrap().unwrap(), sealed);
    }
    assert_eq!(store.get(&others, 100).await.unwrap(), None);

    // A read is bounded, to the byte.
    store.put(&mine, vec![7; 1000].into()).await.unwrap();
    assert_eq!(store.get(&mine, 1000).await.unwrap().unwrap(), [7; 1000]);
    let refused = store.get(&mine, 999).await.unwrap_err();
    assert_eq!(refused, BlobError::TooLarge { size_bytes: 1000, bytes_max: 999 });

    // So is a write, and a refused one leaves what was there.
    let refused = store.put(&mine, vec![8; BLOB_BYTES_MAX + 1].into()).await.unwrap_err();
    assert_eq!((refused.code(), refused.is_retryable()), ("too_large", false));
    assert_eq!(store.get(&mine, 1000).await.unwrap().unwrap(), [7; 1000]);
    let largest: Vec<u8> = (0..BLOB_BYTES_MAX).map(|index| (index / 251) as u8).collect();
    store.put(&mine, largest.clone().into()).await.unwrap();
    assert!(store.get(&mine, BLOB_BYTES_MAX).await.unwrap().unwrap() == largest);

    // Deleted is deleted, also twice, and nobody else's.
    store.put(&others, b"other".to_vec().into()).await.unwrap();
    store.delete(&mine).await.unwrap();
    store.delete(&mine).await.unwrap();
    assert_eq!(store.get(&mine, 100).await.unwrap(), None);
    assert_eq!(store.get(&others, 100).await.unwrap().unwrap(), b"other");
}

/// Puts of one key at the same time end as one of them, whole.
async fn concurrent_puts_of_one_key_never_mix(store: Arc<dyn BlobStore>) {
    let mut puts = JoinSet::new();
    for writer in 0..20_u8 {
        let store = Arc::clone(&store);
        puts.spawn(async move { store.put(&key("student-3", b"x"), vec![writer; 50_000].into()).await });
    }
    while let Some(put) = puts.join_next().await {
        put.unwrap().unwrap();
    }
    let kept = store.get(&key("student-3", b"x"), 50_000).await.unwrap().unwrap();
    assert!(kept.len() == 50_000 && kept.iter().all(|byte| *byte == kept[0]));
}

/// Something that answers HTTP on loopback until it is dropped, connections and all.
pub(crate) struct Server {
    pub(crate) address: String,
    task: JoinHandle<()>,
}

impl Server {
    async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream));
            }
        });
        Self { address, task }
    }

    /// Answers every request with what `reply` makes of the request and of how many came before it.
    async fn answering(reply: impl Fn(&Request<Incoming>, usize) -> Response<String> + Send + Sync + 'static) -> Self {
        let (reply, count) = (Arc::new(reply), Arc::new(AtomicUsize::new(0)));
        Self::start(move |stream| {
            let (reply, count) = (Arc::clone(&reply), Arc::clone(&count));
            async move {
                let service = service_fn(move |request| {
                    let response = reply(&request, count.fetch_add(1, Ordering::SeqCst));
                    async move { Ok::<_, Infallible>(response) }
                });
                let _ = http1().serve_connection(TokioIo::new(stream), service).await;
            }
        })
        .await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn http1() -> hyper::server::conn::http1::Builder {
    hyper::server::conn::http1::Builder::new()
}

/// A real S3 server over a temporary folder, with one bucket and one account.
pub(crate) async fn s3_server(folder: &TempDir) -> Server {
    fs::create_dir(folder.path().join("evidence")).unwrap();
    let mut builder = S3ServiceBuilder::new(FileSystem::new(folder.path()).unwrap());
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service: S3Service = builder.build();
    Server::start(move |stream| {
        let service = service.clone();
        async move {
            let _ = http1().serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await
}

/// Settings for a server on loopback, with short limits.
fn config(address: &str) -> S3Config {
    let mut config = S3Config::new("us-east-1", "evidence", ACCESS_KEY, SECRET_KEY);
    config.endpoint = Some(address.to_owned());
    config.connect_timeout = Duration::from_millis(500);
    config.attempt_timeout = Duration::from_secs(5);
    config
}

fn s3(address: &str) -> S3Store {
    S3Store::open(&config(address)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_store_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path().join("data/blobs")).unwrap();
    contract(&store).await;
    concurrent_puts_of_one_key_never_mix(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_s3_store_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let server = s3_server(&folder).await;
    contract(&s3(&server.address)).await;
    concurrent_puts_of_one_key_never_mix(Arc::new(s3(&server.address))).await;

    let mut prefixed = config(&server.address);
    prefixed.prefix = "muster/".to_owned();
    prefixed.server_side_encryption = true;
    contract(&S3Store::open(&prefixed).unwrap()).await;
    assert!(folder.path().join("evidence/muster").is_dir());
}

#[tokio::test]
async fn a_sealed_picture_makes_the_round_trip_and_erasing_its_key_erases_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    let fill = |bytes: &mut [u8]| bytes.iter_mut().zip(1..).for_each(|(byte, value)| *byte = value);
    let master = MasterKey::new([9; 32]);
    let subject_key = SubjectKey::generate(&fill);
    let wrapped = master.wrap("uni-a", "student-1", &subject_key, &fill);

    let blob_key = key("student-1", b"the plain picture");
    let name = blob_key.sha256_hex();
    let context = Context { purpose: Purpose::Blob, tenant: "uni-a", subject: "student-1", name: &name };
    let sealed = subject_key.seal(&context, b"the plain picture", &fill);
    store.put(&blob_key, sealed.into()).await.unwrap();

    let kept = store.get(&blob_key, 1000).await.unwrap().unwrap();
    assert!(!kept.windows(5).any(|window| window == b"plain"));
    let opened = master.unwrap_key("uni-a", "student-1", &wrapped).unwrap().open(&context, &kept).unwrap();
    assert_eq!(opened, b"the plain picture");
    assert!(SubjectKey::generate(&|bytes| bytes.fill(1)).open(&context, &kept).is_err());
}

#[tokio::test]
async fn a_disk_store_opened_again_has_every_blob_and_no_leftovers() {
    let folder = tempfile::tempdir().unwrap();
    let blob_key = key("student-1", b"x");
    DiskStore::open(folder.path()).unwrap().put(&blob_key, b"kept".to_vec().into()).await.unwrap();
    fs::write(folder.path().join("tmp/4711-0"), b"half a blo").unwrap();

    let store = DiskStore::open(folder.path()).unwrap();
    assert_eq!(store.get(&blob_key, 100).await.unwrap().unwrap(), b"kept");
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_a_blob_on_disk() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("blobs");
    let blob_key = key("student-1", b"x");
    DiskStore::open(&root).unwrap().put(&blob_key, b"kept".to_vec().into()).await.unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(root.clone()), mode(root.join(blob_key.name()))), (0o700, 0o600));
}

#[tokio::test]
async fn a_disk_that_is_gone_is_unavailable_and_loses_nothing_silently() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("blobs");
    let store = DiskStore::open(&root).unwrap();
    fs::rename(&root, folder.path().join("unmounted")).unwrap();
    let blob_key = key("student-1", b"x");
    let put = store.put(&blob_key, b"x".to_vec().into()).await.unwrap_err();
    assert_eq!((put.code(), put.is_retryable()), ("unavailable", true));
    assert_eq!(store.health().await.unwrap_err().code(), "unavailable");
}

#[tokio::test]
async fn wrong_credentials_are_denied() {
    let folder = tempfile::tempdir().unwrap();
    let server = s3_server(&folder).await;
    s3(&server.address).put(&key("student-1", b"x"), b"kept".to_vec().into()).await.unwrap();
    for (access_key, secret_key) in [(ACCESS_KEY, "another secret"), ("nobody", SECRET_KEY)] {
        let mut wrong = config(&server.address);
        wrong.access_key = access_key.to_owned();
        wrong.secret_key = secret_key.to_owned();
        let store = S3Store::open(&wrong).unwrap();
        let blob_key = key("student-1", b"x");
        let errors = [
            store.put(&blob_key, b"changed".to_vec().into()).await.unwrap_err(),
            store.get(&blob_key, 100).await.unwrap_err(),
            store.exists(&blob_key).await.unwrap_err(),
            store.delete(&blob_key).await.unwrap_err(),
            store.health().await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!((error.code(), error.is_retryable()), ("denied", false), "{error}");
            assert!(error.to_string().contains("it answered 403"), "{error}");
            assert!(!error.to_string().contains(secret_key), "{error}");
        }
    }
    let kept = s3(&server.address).get(&key("student-1", b"x"), 100).await.unwrap().unwrap();
    assert_eq!(kept, b"kept");
}

#[tokio::test]
async fn a_bucket_that_does_not_exist_is_a_wrong_setting() {
    let folder = tempfile::tempdir().unwrap();
    let server = s3_server(&folder).await;
    let mut wrong = config(&server.address);
    wrong.bucket = "nowhere".to_owned();
    let store = S3Store::open(&wrong).unwrap();
    for error in [store.health().await.unwrap_err(), store.delete(&key("student-1", b"x")).await.unwrap_err()] {
        assert_eq!((error.code(), error.is_retryable()), ("misconfigured", false), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let server = s3_server(&folder).await;
    let store = s3(&server.address);
    let blob_key = key("student-1", b"x");
    store.put(&blob_key, b"kept".to_vec().into()).await.unwrap();
    drop(server);
    // The listener closes when its task is next polled.
    tokio::task::yield_now().await;
    let errors = [
        store.put(&blob_key, b"x".to_vec().into()).await.unwrap_err(),
        store.get(&blob_key, 100).await.unwrap_err(),
        store.exists(&blob_key).await.unwrap_err(),
        store.delete(&blob_key).await.unwrap_err(),
        store.health().await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!((error.code(), error.is_retryable()), ("unavailable", true), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_unavailable_in_time() {
    let server = Server::start(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let mut short = config(&server.address);
    short.attempt_timeout = Duration::from_millis(200);
    short.operation_timeout = Duration::from_millis(600);
    let store = S3Store::open(&short).unwrap();
    let reply = tokio::time::timeout(Duration::from_secs(5), store.health()).await;
    assert_eq!(reply.expect("the store gives up by itself").unwrap_err().code(), "unavailable");
}

#[tokio::test]
async fn a_busy_server_is_asked_again_and_not_forever() {
    let busy = |_: &Request<Incoming>, _| Response::builder().status(503).body(String::new()).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let server = Server::answering(move |request, index| {
        seen.store(index + 1, Ordering::SeqCst);
        busy(request, index)
    })
    .await;
    let error = s3(&server.address).exists(&key("student-1", b"x")).await.unwrap_err();
    assert_eq!(error.code(), "unavailable");
    assert_eq!(count.load(Ordering::SeqCst), 3);

    let recovers = Server::answering(
        move |request, index| {
            if index < 2 { busy(request, index) } else { Response::new(String::new()) }
        },
    )
    .await;
    assert!(s3(&recovers.address).exists(&key("student-1", b"x")).await.unwrap());
}

#[tokio::test]
async fn a_server_that_keeps_other_bytes_is_noticed() {
    // It knows no checksums, says yes to everything, and has flipped a bit.
    let server = Server::answering(|request, _| match *request.method() {
        Method::GET => Response::new("lept".to_owned()),
        _ => Response::new(String::new()),
    })
    .await;
    let error = s3(&server.address).put(&key("student-1", b"x"), b"kept".to_vec().into()).await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("damaged", true));
    s3(&server.address).put(&key("student-1", b"x"), b"lept".to_vec().into()).await.unwrap();

    let lying = Server::answering(|_, _| {
        Response::builder().header("x-amz-checksum-sha256", "AAAA").body(String::new()).unwrap()
    })
    .await;
    let error = s3(&lying.address).put(&key("student-1", b"x"), b"kept".to_vec().into()).await.unwrap_err();
    assert_eq!(error.code(), "damaged");
}

#[tokio::test]
async fn a_pre_signed_address_gives_the_object_and_only_that_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = s3_server(&folder).await;
    let store = s3(&server.address);
    let blob_key = key("student-1", b"x");
    store.put(&blob_key, b"kept".to_vec().into()).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "the S3 server judges by the real clock")]
    let now = std::time::SystemTime::now();
    let life = Duration::from_secs(60);
    let address = store.presigned_get(&blob_key, "image/jpeg", now, life).await.unwrap();
    assert!(!address.contains(SECRET_KEY) && address.contains("X-Amz-Expires=60"), "{address}");

    let reply = reqwest::get(&address).await.unwrap();
    assert_eq!((reply.status().as_u16(), reply.bytes().await.unwrap().as_ref()), (200, &b"kept"[..]));
    let other = address.replace(&blob_key.name(), &key("student-2", b"x").name());
    assert_eq!(reqwest::get(&other).await.unwrap().status().as_u16(), 403);
    let expired = store.presigned_get(&blob_key, "image/jpeg", now - 2 * life, life).await.unwrap();
    assert_eq!(reqwest::get(&expired).await.unwrap().status().as_u16(), 403);
}

#[test]
fn wrong_settings_are_named_and_secrets_never_shown() {
    let shown = format!("{:?} {:?}", config("http://127.0.0.1:1"), s3("http://127.0.0.1:1"));
    assert!(!shown.contains(SECRET_KEY) && !shown.contains(ACCESS_KEY), "{shown}");
    type Change = fn(&mut S3Config);
    let changes: [(&str, Change); 5] = [
        ("http://", |config| config.endpoint = Some("localhost:9000".to_owned())),
        ("bucket", |config| config.bucket.clear()),
        ("region", |config| config.region.clear()),
        ("secret", |config| config.secret_key.clear()),
        ("attempt", |config| config.attempts_max = 0),
    ];
    for (word, change) in changes {
        let mut wrong = config("http://127.0.0.1:1");
        change(&mut wrong);
        let error = S3Store::open(&wrong).unwrap_err();
        assert!(error.code() == "misconfigured" && error.to_string().contains(word), "{error}");
    }
}
