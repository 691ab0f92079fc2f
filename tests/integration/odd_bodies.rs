//! Whatever a client sends is the client's: no body, no path and no query of any described operation is our failure.

use muster_tests::{Client, Reply, TestServer};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};

/// What may stand where an id belongs.
const IDS: [&str; 5] = ["%00", "%FF%FE", "%E2%80%8B", "%F0%9F%91%A9", "0"];

/// Operations that end the sign-in of whoever asks, or that answer for as long as somebody listens.
const LEFT_OUT: [&str; 2] = ["logout", "/live"];

/// The properties of a body in JSON, by the description.
fn properties<'d>(description: &'d Value, operation: &'d Value) -> Option<&'d Map<String, Value>> {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    let named = schema["$ref"].as_str().and_then(|name| description.pointer(name.strip_prefix('#')?));
    named.unwrap_or(schema)["properties"].as_object()
}

/// Bodies that nobody should send, with their types.
fn bodies(properties: Option<&Map<String, Value>>) -> Vec<(&'static str, Vec<u8>)> {
    const JSON: &str = "application/json";
    const FORM: &str = "multipart/form-data; boundary=x";
    let mut bodies: Vec<(&str, Vec<u8>)> = [
        "",
        "{}",
        "[]",
        "null",
        "\u{feff}{}",
        "{",
        "\"\\ud800\"",
        "{\"a\":\"\\udfff\"}",
        "1e999",
        "{\"a\":1,\"a\":2}",
        "\0",
    ]
    .map(|text| (JSON, text.as_bytes().to_vec()))
    .into();
    bodies.push((JSON, "[".repeat(50_000).into_bytes()));
    bodies.push((JSON, b"{\"a\":\"\xff\"}".to_vec()));
    for value in [
        json!("\0"),
        json!("\u{ffff}\u{202e}\u{200b}"),
        json!(-1),
        json!(u64::MAX),
        json!([[]]),
        json!("x".repeat(40_000)),
    ] {
        let body: Map<String, Value> =
            properties.into_iter().flatten().map(|(name, _)| (name.clone(), value.clone())).collect();
        bodies.push((JSON, serde_json::to_vec(&body).unwrap()));
    }
    for text in [
        "--x",
        "--x--\r\n",
        "--x\r\n\r\nbody\r\n--x--\r\n",
        "--x\r\nContent-Disposition: form-data; name=\"\0\"; filename=\"\u{202e}\"\r\n\r\n\0\r\n--x--\r\n",
        "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\n\r\nPK\x05\x06",
        "--x\r\nContent-Disposition: form-data; name=\"session_code\"\r\n\r\n\0\u{feff}\r\n--x--\r\n",
        "--x\r\nContent-Disposition: form-data; name=\"selfie\"; filename=\"s\"\r\nContent-Type: image/png\r\n\r\n\u{89}PNG\r\n--x--\r\n",
    ] {
        bodies.push((FORM, text.as_bytes().to_vec()));
    }
    bodies.push(("multipart/form-data", b"x".to_vec()));
    bodies.push(("application/x-www-form-urlencoded", b"email=%00&password=%ff&username=%E2%80%8B".to_vec()));
    for bytes in [
        &b"\xff"[..],
        b"\x9f\x9f\x9f",
        b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x7b\x7f\xff\xff\xff\xff\xff\xff\xff",
    ] {
        bodies.push(("application/cbor", bytes.to_vec()));
    }
    for bytes in [&b"\xff\xd8\xff"[..], b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xff\xff\xff\xff\xff\xff\xff", b"PK\x03\x04"]
    {
        bodies.push(("application/octet-stream", bytes.to_vec()));
    }
    bodies
}

async fn answered(client: &Client, method: &Method, path: &str, sent: Option<(&str, Vec<u8>)>) {
    let mut request = client.request(method.clone(), path);
    let mut shown = String::new();
    if let Some((kind, body)) = sent {
        shown = format!("{kind} {}", String::from_utf8_lossy(&body[..body.len().min(200)]));
        request = request.header(CONTENT_TYPE, kind).body(body);
    }
    let reply = Reply::of(request).await;
    let said = String::from_utf8_lossy(&reply.bytes);
    assert_ne!(reply.status.as_u16(), 500, "{method} {path} {shown}: {said}");
}

#[tokio::test]
async fn no_body_and_no_path_of_any_operation_is_our_failure() {
    let server = TestServer::start().await;
    let description = server.anonymous().get("/openapi.json").await.expect(200);
    let clients = [server.client("admin").await, server.client("lecturer").await, server.client("student").await];
    let mut operations = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        if LEFT_OUT.iter().any(|part| path.contains(part)) {
            continue;
        }
        for (name, operation) in item.as_object().unwrap() {
            let Ok(method) = Method::from_bytes(name.to_uppercase().as_bytes()) else { continue };
            operations += 1;
            let bodies = bodies(properties(&description, operation));
            for (number, id) in IDS.iter().enumerate() {
                let mut filled = path.clone();
                while let (Some(begin), Some(end)) = (filled.find('{'), filled.find('}')) {
                    filled.replace_range(begin..=end, id);
                }
                let client = &clients[number % clients.len()];
                answered(client, &method, &format!("{filled}?q=%00&after=%FF&limit=-1"), None).await;
                answered(client, &method, &filled, None).await;
            }
            if operation["requestBody"].is_null() {
                continue;
            }
            let filled = path.replace(['{', '}'], "");
            for (number, body) in bodies.into_iter().enumerate() {
                answered(&clients[number % clients.len()], &method, &filled, Some(body.clone())).await;
                answered(&clients[0], &method, &filled, Some(body)).await;
            }
        }
    }
    assert!(operations > 60, "{operations} operations are described");
}
