//! Blobs in an S3 bucket, at AWS or at anything that speaks its protocol.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use aws_smithy_http_client::tls;
use bytes::Bytes;
use data_encoding::BASE64;
use sha2::{Digest, Sha256};

use super::{BlobError, BlobFuture, BlobKey, BlobStore, check_size};
use crate::config::address;

/// The longest life of a pre-signed address.
pub const PRESIGNED_LIFE_MAX: Duration = Duration::from_secs(15 * 60);

/// The longest wait before the second attempt; it doubles for each one after, up to [`BACKOFF_MAX`], with jitter.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// The longest message of a server that is kept in an error, in characters.
const CAUSE_CHARS_MAX: usize = 300;

/// Where the bucket is and how to talk to it. Its `Debug` shows no secret.
#[derive(Clone)]
pub struct S3Config {
    /// `http://` or `https://` address of the service; none for AWS itself.
    pub endpoint: Option<String>,
    /// The bucket's region.
    pub region: String,
    /// The bucket, which must exist.
    pub bucket: String,
    /// What every object's name begins with: empty, or `folder/`.
    pub prefix: String,
    /// Whether the bucket is part of the path and not of the host name, as most services but AWS want it.
    pub path_style: bool,
    /// The access key.
    pub access_key: String,
    /// The secret key.
    pub secret_key: String,
    /// Whether S3 is asked to encrypt what it stores (`S3_DELIVERY=presigned`).
    pub server_side_encryption: bool,
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
    /// How long an operation may take with all its attempts, and reading its reply.
    pub operation_timeout: Duration,
    /// How often an operation is tried at most, the first time included.
    pub attempts_max: u32,
}

impl S3Config {
    /// The settings that have no default, and the defaults of the others: path style, 3 attempts in 30 s.
    pub fn new(region: &str, bucket: &str, access_key: &str, secret_key: &str) -> Self {
        Self {
            endpoint: None,
            region: region.to_owned(),
            bucket: bucket.to_owned(),
            prefix: String::new(),
            path_style: true,
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
            server_side_encryption: false,
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(10),
            operation_timeout: Duration::from_secs(30),
            attempts_max: 3,
        }
    }

    fn check(&self) -> Result<(), BlobError> {
        let misconfigured = |cause: &str| Err(BlobError::Misconfigured { cause: cause.to_owned() });
        if let Some(endpoint) = &self.endpoint
            && !(endpoint.starts_with("http://") || endpoint.starts_with("https://"))
        {
            return misconfigured("the S3 endpoint must begin with http:// or https://");
        }
        if self.region.is_empty() || self.bucket.is_empty() {
            return misconfigured("the S3 region and bucket must be named");
        }
        if self.access_key.is_empty() || self.secret_key.is_empty() {
            return misconfigured("the S3 access key and secret key must be given");
        }
        if self.attempts_max == 0 {
            return misconfigured("an S3 operation needs at least one attempt");
        }
        Ok(())
    }
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Config")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("path_style", &self.path_style)
            .finish_non_exhaustive()
    }
}

/// A [`BlobStore`] in an S3 bucket.
///
/// A `HEAD` reply has no body, so [`BlobStore::exists`] cannot tell a missing bucket from a missing object: it says no.
/// [`BlobStore::health`] tells.
#[derive(Clone)]
pub struct S3Store {
    client: Client,
    bucket: String,
    prefix: String,
    encryption: Option<ServerSideEncryption>,
    operation_timeout: Duration,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("bucket", &self.bucket).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl S3Store {
    /// Prepares the client. It opens no connection: call [`BlobStore::health`] to learn whether the bucket answers.
    ///
    /// # Errors
    /// [`BlobError::Misconfigured`] if a setting is missing or malformed.
    pub fn open(config: &S3Config) -> Result<Self, BlobError> {
        config.check()?;
        Ok(Self {
            client: client(config),
            bucket: config.bucket.clone(),
            prefix: config.prefix.clone(),
            encryption: config.server_side_encryption.then_some(ServerSideEncryption::Aes256),
            operation_timeout: config.operation_timeout,
        })
    }

    /// An address that gives the stored bytes to anyone who has it, until `now + life`. Only for objects that are not
    /// sealed by us; `life` is cut to [`PRESIGNED_LIFE_MAX`].
    ///
    /// # Errors
    /// If the settings do not make an address.
    pub async fn presigned_get(
        &self,
        key: &BlobKey,
        media_type: &str,
        now: SystemTime,
        life: Duration,
    ) -> Result<String, BlobError> {
        let misconfigured = |cause: String| BlobError::Misconfigured { cause };
        let presigning = PresigningConfig::builder()
            .start_time(now)
            .expires_in(life.min(PRESIGNED_LIFE_MAX))
            .build()
            .map_err(|error| misconfigured(error.to_string()))?;
        let request = self.client.get_object().bucket(&self.bucket).key(self.name(key));
        let signed = request
            .response_content_type(media_type)
            .presigned(presigning)
            .await
            .map_err(|error| misconfigured(error.to_string()))?;
        Ok(signed.uri().to_owned())
    }

    fn name(&self, key: &BlobKey) -> String {
        format!("{}{}", self.prefix, key.name())
    }

    /// Bounds an operation, the reading of its reply included.
    fn timed<'a, T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, BlobError>> + Send + 'a,
    ) -> BlobFuture<'a, T> {
        let limit = self.operation_timeout;
        Box::pin(async move {
            let timed_out =
                |_| BlobError::Unavailable { operation, cause: format!("no reply in {} ms", limit.as_millis()) };
            tokio::time::timeout(limit, work).await.map_err(timed_out)?
        })
    }

    async fn put_checked(&self, key: &BlobKey, bytes: Bytes) -> Result<(), BlobError> {
        check_size(&bytes)?;
        let digest = BASE64.encode(&Sha256::digest(&bytes));
        // The server compares the bytes that arrived with this digest, and refuses the request if they differ.
        let request = self.client.put_object().bucket(&self.bucket).key(self.name(key)).checksum_sha256(&digest);
        let reply = request
            .set_server_side_encryption(self.encryption.clone())
            .body(ByteStream::from(bytes.clone()))
            .send()
            .await
            .map_err(|error| failure("put", &error))?;
        match reply.checksum_sha256() {
            Some(stored) if stored == digest => Ok(()),
            Some(_) => Err(BlobError::Damaged),
            // A service that knows no such checksums may have ignored ours: look at what it kept.
            None => match self.read(key, bytes.len()).await {
                Ok(Some(stored)) if stored == bytes => Ok(()),
                Ok(_) | Err(BlobError::TooLarge { .. }) => Err(BlobError::Damaged),
                Err(error) => Err(error),
            },
        }
    }

    async fn read(&self, key: &BlobKey, bytes_max: usize) -> Result<Option<Vec<u8>>, BlobError> {
        let request = self.client.get_object().bucket(&self.bucket).key(self.name(key));
        match request.send().await {
            Ok(reply) => collect(reply, bytes_max as u64).await.map(Some),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failure("get", &error)),
        }
    }
}

impl BlobStore for S3Store {
    fn put<'a>(&'a self, key: &'a BlobKey, bytes: Bytes) -> BlobFuture<'a, ()> {
        self.timed("put", self.put_checked(key, bytes))
    }

    fn get<'a>(&'a self, key: &'a BlobKey, bytes_max: usize) -> BlobFuture<'a, Option<Vec<u8>>> {
        self.timed("get", self.read(key, bytes_max))
    }

    fn exists<'a>(&'a self, key: &'a BlobKey) -> BlobFuture<'a, bool> {
        let request = self.client.head_object().bucket(&self.bucket).key(self.name(key));
        self.timed("exists", async move {
            match request.send().await {
                Ok(_) => Ok(true),
                Err(error) if is_missing(&error) => Ok(false),
                Err(error) => Err(failure("exists", &error)),
            }
        })
    }

    fn delete<'a>(&'a self, key: &'a BlobKey) -> BlobFuture<'a, ()> {
        let request = self.client.delete_object().bucket(&self.bucket).key(self.name(key));
        self.timed("delete", async move {
            match request.send().await {
                Err(error) if !is_missing(&error) => Err(failure("delete", &error)),
                _ => Ok(()),
            }
        })
    }

    fn health(&self) -> BlobFuture<'_, ()> {
        let request = self.client.head_bucket().bucket(&self.bucket);
        self.timed("health", async move {
            match request.send().await {
                Ok(_) => Ok(()),
                // A reply without a body has no code, but here only the bucket can be what is missing.
                Err(error) if status(&error) == Some(404) => Err(no_bucket()),
                Err(error) => Err(failure("health", &error)),
            }
        })
    }
}

fn client(config: &S3Config) -> Client {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(config.connect_timeout)
        .read_timeout(config.attempt_timeout)
        .operation_attempt_timeout(config.attempt_timeout)
        .operation_timeout(config.operation_timeout)
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(config.attempts_max)
        .with_initial_backoff(BACKOFF_FIRST)
        .with_max_backoff(BACKOFF_MAX);
    let mut builder = Builder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .region(Region::new(config.region.clone()))
        .credentials_provider(Credentials::new(&config.access_key, &config.secret_key, None, None, "muster"))
        .force_path_style(config.path_style)
        .timeout_config(timeouts)
        .retry_config(retries)
        // We give a SHA-256 ourselves; the SDK's own CRC trailers are not understood everywhere.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    // The SDK puts the bucket right behind the path of the address, so that path must end with its slash.
    builder.set_endpoint_url(config.endpoint.as_deref().map(|endpoint| address::below(endpoint, "")));
    Client::from_conf(builder.build())
}

/// Reads a reply's body as far as the limit, whatever length it claims.
async fn collect(reply: GetObjectOutput, bytes_max: u64) -> Result<Vec<u8>, BlobError> {
    let too_large = |size_bytes| BlobError::TooLarge { size_bytes, bytes_max };
    let claimed = reply.content_length().and_then(|length| u64::try_from(length).ok()).unwrap_or_default();
    if claimed > bytes_max {
        return Err(too_large(claimed));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(claimed).unwrap_or_default());
    let mut body = reply.body;
    while let Some(part) = body.next().await {
        let part = part.map_err(|error| BlobError::Unavailable { operation: "get", cause: cause(&error) })?;
        let size_bytes = bytes.len() as u64 + part.len() as u64;
        if size_bytes > bytes_max {
            return Err(too_large(size_bytes));
        }
        bytes.extend_from_slice(&part);
    }
    if (bytes.len() as u64) < claimed {
        return Err(BlobError::Unavailable { operation: "get", cause: "the reply was cut short".to_owned() });
    }
    Ok(bytes)
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// Whether the object is not there. A missing bucket is something else: its settings are wrong.
fn is_missing<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let code = error.code();
    code == Some("NoSuchKey") || (status(error) == Some(404) && code != Some("NoSuchBucket"))
}

fn no_bucket() -> BlobError {
    BlobError::Misconfigured { cause: "the S3 bucket does not exist".to_owned() }
}

/// Sorts what S3 answered by who can do something about it.
fn failure<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> BlobError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let code = error.code().unwrap_or_default();
    let cause = match status(error) {
        // `HEAD` replies have a status and nothing else.
        Some(status) => {
            bounded(&["it answered", &status.to_string(), code, error.message().unwrap_or_default()].join(" "))
        }
        None => cause(error),
    };
    match (status(error), code) {
        (_, "NoSuchBucket") => no_bucket(),
        (_, "BadDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch") => BlobError::Damaged,
        (Some(507), _) | (_, "XMinioStorageFull" | "QuotaExceeded") => BlobError::Full,
        (_, "ExpiredToken" | "InvalidToken" | "InvalidAccessKeyId") | (Some(401 | 403), _) => {
            BlobError::Denied { operation, cause }
        }
        // Another region, or another service than the endpoint's.
        (Some(301 | 307), _) | (_, "AuthorizationHeaderMalformed") => BlobError::Misconfigured { cause },
        _ if matches!(error, SdkError::ConstructionFailure(_)) => BlobError::Misconfigured { cause },
        _ => BlobError::Unavailable { operation, cause },
    }
}

/// An error and what caused it, on one bounded line. S3's replies and the SDK's errors hold no secret.
fn cause(error: &dyn std::error::Error) -> String {
    let mut causes = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !causes.contains(&text) {
            causes.push(text);
        }
        source = error.source();
    }
    bounded(&causes.join(": "))
}

fn bounded(text: &str) -> String {
    text.trim_end().chars().filter(|c| !c.is_control()).take(CAUSE_CHARS_MAX).collect()
}
