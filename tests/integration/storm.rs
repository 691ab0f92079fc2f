//! Many phones at once: a server that is full says when to come back, and one that is stopped keeps its word.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use muster_server::limits::{self, ConnectionLimits};
use muster_sync_core::Locator;
use muster_sync_core::sync::message::{CONTENT_TYPE, Fate, Response};
use muster_tests::phone::{Item, Phone};
use muster_tests::{Client, TestServer};
use reqwest::Method;

const NOON_MS: i64 = 1_763_640_000_000;
const PHONES: u8 = 12;
const RECORDS: usize = 24;
/// Acknowledgements after which the server is stopped.
const ACKS_BEFORE_STOP: usize = 60;
/// More than enough tries for a phone that is told to come back.
const TRIES_MAX: usize = 5_000;

/// Phones that are bound, each with records for class sessions of their own.
async fn phones(server: &TestServer) -> Vec<(Phone, Vec<Item>)> {
    let mut phones = Vec::new();
    for seed in 1..=PHONES {
        let mut phone = Phone::new(server.client("student").await, seed);
        phone.bind(server).await;
        let locator = |index: usize| Locator::from_random([seed, index as u8, 0, 0]);
        let items = (0..RECORDS).map(|index| phone.submission(locator(index), "123456", NOON_MS)).collect();
        phones.push((phone, items));
    }
    phones
}

/// The fate of one pushed record; `None` when there was no answer.
async fn push(client: &Client, body: Vec<u8>) -> Option<Result<Fate, u64>> {
    let request = client.request(Method::POST, "/api/v1/sync").header("content-type", CONTENT_TYPE).body(body);
    let reply = request.send().await.ok()?;
    let status = reply.status().as_u16();
    let retry_after = reply.headers().get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
    let bytes = reply.bytes().await.ok()?;
    match status {
        200 => Some(Ok(Response::decode(&bytes).unwrap().fates.remove(0))),
        503 => Some(Err(retry_after.expect("503 says when to come back"))),
        other => panic!("{other}: {}", String::from_utf8_lossy(&bytes)),
    }
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_storm_keeps_what_was_acknowledged() {
    let server = TestServer::start().await;
    let phones = phones(&server).await;
    let tokens: Vec<String> = phones.iter().map(|(phone, _)| phone.client.token().unwrap().to_owned()).collect();
    let all: Vec<Vec<Item>> = phones.iter().map(|(_, items)| items.clone()).collect();
    let acks = Arc::new(AtomicUsize::new(0));
    let storm: Vec<_> = phones
        .into_iter()
        .map(|(phone, items)| {
            let acks = Arc::clone(&acks);
            tokio::spawn(async move {
                let mut receipts = Vec::new();
                for item in &items {
                    match push(&phone.client, phone.body(std::slice::from_ref(item), &HashMap::new(), false)).await {
                        Some(Ok(fate)) => receipts.push(fate),
                        _ => break,
                    }
                    acks.fetch_add(1, Ordering::Relaxed);
                }
                receipts
            })
        })
        .collect();
    while acks.load(Ordering::Relaxed) < ACKS_BEFORE_STOP {
        tokio::task::yield_now().await;
    }
    let data = server.stop().await;
    let server = TestServer::builder().data(data).start().await;
    let mut acknowledged = 0;
    for ((index, storm), (token, items)) in storm.into_iter().enumerate().zip(tokens.iter().zip(&all)) {
        let receipts = storm.await.unwrap();
        acknowledged += receipts.len();
        let phone = Phone::new(server.with_token(token), index as u8 + 1);
        let again = phone.push(items).await;
        assert_eq!(again[..receipts.len()], receipts[..], "the same receipts after the stop");
        assert!(again.iter().all(|fate| fate.receipt.is_some()), "and the rest gets through now");
    }
    assert!(acknowledged >= ACKS_BEFORE_STOP);
}

#[tokio::test]
async fn nobody_starves_when_more_come_at_once_than_there_is_room_for() {
    let few = ConnectionLimits { requests_in_flight_max: 2, ..limits::CONNECTION };
    let server = TestServer::builder().connection_limits(few).start().await;
    let phones = phones(&server).await;
    let put_off = Arc::new(AtomicUsize::new(0));
    let storm: Vec<_> = phones
        .into_iter()
        .map(|(phone, items)| {
            let put_off = Arc::clone(&put_off);
            tokio::spawn(async move {
                for item in &items {
                    let body = phone.body(std::slice::from_ref(item), &HashMap::new(), false);
                    let mut tries = 0..TRIES_MAX;
                    let fate = loop {
                        tries.next().expect("nobody starves");
                        match push(&phone.client, body.clone()).await.expect("an answer") {
                            Ok(fate) => break fate,
                            Err(seconds) => {
                                assert!((1..=8).contains(&seconds));
                                put_off.fetch_add(1, Ordering::Relaxed);
                                // A real phone waits for seconds; a thousandth of that keeps the order of things.
                                tokio::time::sleep(Duration::from_millis(seconds)).await;
                            }
                        }
                    };
                    assert!(fate.receipt.is_some());
                }
            })
        })
        .collect();
    for phone in storm {
        phone.await.unwrap();
    }
    assert!(put_off.load(Ordering::Relaxed) > 0, "some were told to come back");
}
