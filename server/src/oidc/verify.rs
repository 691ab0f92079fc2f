//! From the code that came back to a proven identity. The checks of the ID token are the library's; what it leaves to its
//! callers is here: `azp`, `nbf`, the age, `at_hash`, and Microsoft's directories.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreRevocableToken, CoreRevocationErrorResponse,
    CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::url::Url;
use openidconnect::{
    AccessTokenHash, AdditionalClaims, AuthorizationCode, ClaimsVerificationError, EmptyAdditionalClaims,
    EmptyExtraTokenFields, EndpointNotSet, EndpointSet, IdToken, IdTokenClaims, IdTokenFields, IdTokenVerifier,
    IssuerUrl, JsonWebKey, JsonWebKeySet, OAuth2TokenResponse, PkceCodeChallenge, RequestTokenError, Scope,
    SignatureVerificationError, StandardErrorResponse, StandardTokenResponse, TokenResponse, UserInfoClaims,
};
use serde::{Deserialize, Serialize};

use super::fetch::{Asking, FetchError};
use super::flow::Flow;
use super::jwks::{self, Keys, Metadata, ProviderError};
use super::limits;
use super::providers::{Kind, Provider};
use super::refusal::Refusal;
use super::tidy::{self, AsksForToken, AsksForUserinfo, KeyOfToken, Signed};

/// Claims that are not of the standard, or that the library leaves out.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Extra {
    nbf: Option<i64>,
    tid: Option<String>,
    oid: Option<String>,
}

impl AdditionalClaims for Extra {}

type Fields = IdTokenFields<
    Extra,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;
type Answer = StandardTokenResponse<Fields, CoreTokenType>;
type Token = IdToken<Extra, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;
type Claims = IdTokenClaims<Extra, CoreGenderClaim>;
type Verifier<'a> = IdTokenVerifier<'a, KeyOfToken>;
type Client = openidconnect::Client<
    Extra,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Answer,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
    EndpointNotSet,
>;

/// When it is, and how long what was fetched may be kept.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) now_ms: i64,
    pub(super) cache_ttl_ms: i64,
    pub(super) nonce_ttl_s: i64,
}

/// Who somebody is, by the word of a provider.
#[derive(Debug, Clone)]
pub(super) struct Proven {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) email: Option<String>,
    /// Whether the provider vouches that the person reads mail there.
    pub(super) email_proven: bool,
    pub(super) name: Option<String>,
    pub(super) given_name: Option<String>,
    pub(super) family_name: Option<String>,
}

fn client(provider: &Provider, metadata: &Metadata, keys: &Keys) -> Result<Client, Refusal> {
    let issuer = IssuerUrl::new(metadata.issuer.clone()).map_err(|_| Refusal::token("bad_issuer"))?;
    Ok(openidconnect::Client::new(provider.client_id.clone(), issuer, keys.set.clone())
        .set_client_secret(provider.client_secret.clone())
        .set_auth_type(metadata.auth_type.clone())
        .set_auth_uri(metadata.auth_url.clone())
        .set_token_uri(metadata.token_url.clone())
        .set_redirect_uri(provider.redirect_uri.clone()))
}

/// Where the browser goes to sign in.
pub(super) async fn authorization_url(provider: &Provider, flow: &Flow, times: Times) -> Result<Url, Refusal> {
    let metadata = provider.metadata(times.now_ms, times.cache_ttl_ms).await?;
    let client = client(provider, &metadata, &Keys::default())?;
    let (state, nonce) = (flow.csrf(), flow.nonce());
    let (url, _, _) = client
        .authorize_url(CoreAuthenticationFlow::AuthorizationCode, move || state, move || nonce)
        .add_scope(Scope::new("email".to_owned()))
        .add_scope(Scope::new("profile".to_owned()))
        .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&flow.verifier()))
        .url();
    Ok(url)
}

/// Exchanges the code and checks everything that came for it.
pub(super) async fn identity(
    provider: &Provider,
    flow: &Flow,
    code: String,
    named_issuer: Option<&str>,
    (times, asking): (Times, Asking),
) -> Result<Proven, Refusal> {
    let metadata = provider.metadata(times.now_ms, times.cache_ttl_ms).await?;
    check_named_issuer(&metadata, named_issuer)?;
    let keys = provider.keys(&metadata, times.now_ms, times.cache_ttl_ms, None).await?;
    let client = client(provider, &metadata, &keys)?;
    let request = client.exchange_code(AuthorizationCode::new(code)).set_pkce_verifier(flow.verifier());
    let http = AsksForToken::new(&provider.http, asking);
    let answer = request.request_async(&http).await.map_err(token_error)?;
    let token = answer.id_token().ok_or(Refusal::token("no_id_token"))?;
    let signed = http.signed().ok_or(Refusal::token("bad_token_answer"))?;
    let came = Came { answer: &answer, token, signed };

    let verified = match verified(provider, &metadata, &keys, flow, came, times) {
        Err(refusal) if refusal.is("unknown_key") => {
            let newer = provider.keys(&metadata, times.now_ms, times.cache_ttl_ms, Some(&keys)).await?;
            if Arc::ptr_eq(&newer, &keys) {
                return Err(refusal);
            }
            verified(provider, &metadata, &newer, flow, came, times)?
        }
        verified => verified?,
    };
    let mut proven = proven(provider, verified)?;
    if proven.email.is_none() && metadata.userinfo_url.is_some() {
        add_userinfo((provider, asking), &metadata, &client, (&answer, verified), &mut proven).await?;
    }
    Ok(proven)
}

/// A way back that names another issuer was meant for another provider.
fn check_named_issuer(metadata: &Metadata, named: Option<&str>) -> Result<(), Refusal> {
    let right = match named {
        Some(named) => named == metadata.issuer || metadata.is_template(),
        None => !metadata.names_issuer,
    };
    if right { Ok(()) } else { Err(Refusal::token("issuer_mixed_up")) }
}

/// What came for the code.
#[derive(Clone, Copy)]
struct Came<'t> {
    answer: &'t Answer,
    token: &'t Token,
    signed: &'t Signed,
}

fn verified<'t>(
    provider: &Provider,
    metadata: &Metadata,
    keys: &Keys,
    flow: &Flow,
    came: Came<'t>,
    times: Times,
) -> Result<&'t Claims, Refusal> {
    let Came { answer, token, signed } = came;
    let verifier = verifier(provider, metadata, tidy::keys_of(&keys.set, signed), times)?;
    let claims = token.claims(&verifier, &flow.nonce()).map_err(|error| Refusal::token(reason(&error)))?;
    check_party_and_times(provider, claims, times)?;
    let unknown = |_| Refusal::token("unknown_key");
    let (algorithm, key) = (token.signing_alg().map_err(unknown)?, token.signing_key(&verifier).map_err(unknown)?);
    if let Some(said) = claims.access_token_hash() {
        let hash = AccessTokenHash::from_token(answer.access_token(), algorithm, key);
        if hash.map_err(|_| Refusal::token("bad_at_hash"))? != *said {
            return Err(Refusal::token("bad_at_hash"));
        }
    }
    if provider.kind == Kind::Entra {
        let kid = key.key_id().map(|kid| kid.as_str()).unwrap_or_default();
        check_directory(metadata, keys, claims, kid)?;
    }
    Ok(claims)
}

fn verifier<'a>(
    provider: &Provider,
    metadata: &Metadata,
    keys: JsonWebKeySet<KeyOfToken>,
    times: Times,
) -> Result<Verifier<'a>, Refusal> {
    let issuer = IssuerUrl::new(metadata.issuer.clone()).map_err(|_| Refusal::token("bad_issuer"))?;
    let seen_ms = u64::try_from(times.now_ms - limits::CLOCK_LEEWAY_S * 1000).unwrap_or_default();
    let seen = UNIX_EPOCH + Duration::from_millis(seen_ms);
    // A public client's verifier: with the secret at hand, the library would also take a MAC made with it.
    Ok(Verifier::new_public_client(provider.client_id.clone(), issuer, keys)
        .set_allowed_algs([CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256, CoreJwsSigningAlgorithm::EcdsaP256Sha256])
        // `check_directory` does it where one document stands for many.
        .require_issuer_match(!metadata.is_template())
        .set_time_fn(move || seen.into()))
}

fn check_party_and_times(provider: &Provider, claims: &Claims, times: Times) -> Result<(), Refusal> {
    if claims.authorized_party().is_some_and(|party| *party != provider.client_id) {
        return Err(Refusal::token("bad_azp"));
    }
    let latest_s = times.now_ms.div_euclid(1000) + limits::CLOCK_LEEWAY_S;
    let earliest_s = latest_s - 2 * limits::CLOCK_LEEWAY_S - times.nonce_ttl_s;
    if !(earliest_s..=latest_s).contains(&claims.issue_time().timestamp()) {
        return Err(Refusal::token("bad_issue_time"));
    }
    if claims.additional_claims().nbf.is_some_and(|nbf| nbf > latest_s) {
        return Err(Refusal::token("not_yet_valid"));
    }
    Ok(())
}

/// A directory may speak for its own people only, and a key of one directory may not sign for another.
fn check_directory(metadata: &Metadata, keys: &Keys, claims: &Claims, kid: &str) -> Result<(), Refusal> {
    let tid = claims.additional_claims().tid.as_deref().filter(|tid| jwks::is_directory(tid));
    let tid = tid.ok_or(Refusal::token("no_directory"))?;
    // Of one directory, the document names the id, so that `tid` must be in the issuer all the same.
    let of_directory = jwks::with_tenant(&metadata.issuer, tid);
    if claims.issuer().as_str() != of_directory || !of_directory.contains(tid) {
        return Err(Refusal::token("bad_issuer"));
    }
    let key_issuer = keys.issuer_of(kid).map(|issuer| jwks::with_tenant(issuer, tid));
    if key_issuer.is_some_and(|issuer| issuer != of_directory) {
        return Err(Refusal::token("bad_key_issuer"));
    }
    Ok(())
}

fn proven(provider: &Provider, claims: &Claims) -> Result<Proven, Refusal> {
    let subject = match provider.kind {
        Kind::Standard => claims.subject().as_str(),
        // `sub` is another one for every client; `oid` stays.
        Kind::Entra => claims.additional_claims().oid.as_deref().ok_or(Refusal::token("no_object"))?,
    };
    let plain = !subject.is_empty() && !subject.chars().any(char::is_control);
    if !plain || subject.len() > limits::SUBJECT_BYTES_MAX || claims.issuer().len() > limits::ISSUER_BYTES_MAX {
        return Err(Refusal::token("bad_subject"));
    }
    let text = |claim: &String| claim.clone();
    Ok(Proven {
        issuer: claims.issuer().to_string(),
        subject: subject.to_owned(),
        email: claims.email().map(|email| email.to_string()),
        email_proven: provider.email_trusted || claims.email_verified() == Some(true),
        name: claims.name().and_then(|name| name.get(None)).map(|name| text(name)),
        given_name: claims.given_name().and_then(|name| name.get(None)).map(|name| text(name)),
        family_name: claims.family_name().and_then(|name| name.get(None)).map(|name| text(name)),
    })
}

/// Some providers tell the address only when they are asked once more. What they say must be about the same subject.
async fn add_userinfo(
    (provider, asking): (&Provider, Asking),
    metadata: &Metadata,
    client: &Client,
    (answer, claims): (&Answer, &Claims),
    proven: &mut Proven,
) -> Result<(), Refusal> {
    let Some(url) = &metadata.userinfo_url else { return Ok(()) };
    let client = client.clone().set_user_info_url(url.clone());
    let request = client.user_info(answer.access_token().clone(), Some(claims.subject().clone()));
    let http = AsksForUserinfo(&provider.http, asking);
    let info: Result<UserInfoClaims<EmptyAdditionalClaims, CoreGenderClaim>, _> = request.request_async(&http).await;
    let info = info.map_err(|_| Refusal::token("bad_userinfo"))?;
    proven.email = info.email().map(|email| email.to_string());
    proven.email_proven = provider.email_trusted || info.email_verified() == Some(true);
    Ok(())
}

/// A stable word for the audit log; the library's own sentences quote the token.
fn reason(error: &ClaimsVerificationError) -> &'static str {
    use ClaimsVerificationError as Claim;
    use SignatureVerificationError as Signature;
    match error {
        Claim::Expired(_) => "expired",
        Claim::InvalidAudience(_) => "bad_audience",
        Claim::InvalidIssuer(_) => "bad_issuer",
        Claim::InvalidNonce(_) => "bad_nonce",
        Claim::InvalidSubject(_) => "bad_subject",
        Claim::SignatureVerification(Signature::NoMatchingKey) => "unknown_key",
        Claim::SignatureVerification(Signature::AmbiguousKeyId(_)) => "ambiguous_key",
        Claim::SignatureVerification(Signature::NoSignature) => "not_signed",
        Claim::SignatureVerification(Signature::DisallowedAlg(_) | Signature::UnsupportedAlg(_)) => "bad_algorithm",
        Claim::SignatureVerification(_) => "bad_signature",
        _ => "bad_token",
    }
}

fn token_error<E: openidconnect::ErrorResponse>(error: RequestTokenError<FetchError, E>) -> Refusal {
    match error {
        RequestTokenError::ServerResponse(_) => Refusal::token("code_refused"),
        RequestTokenError::Request(error) => Refusal::from(ProviderError::from(error)),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => Refusal::token("bad_token_answer"),
    }
}
