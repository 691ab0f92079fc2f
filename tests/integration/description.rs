//! `/openapi.json`: it is whole, it describes every route that is served, and nothing else.

use std::collections::BTreeSet;

use muster_tests::TestServer;
use serde_json::Value;

use super::world::routes;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Every reference in a description.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// Method and path of every operation.
fn operations(description: &Value) -> BTreeSet<(String, String)> {
    let paths = description["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        let methods = METHODS.iter().filter(|method| item[**method].is_object());
        methods.map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

#[tokio::test]
async fn every_route_that_is_served_is_described_and_no_other() {
    for prefix in [None, Some("/campus/api"), Some("/v1"), Some("/api/v1")] {
        let builder = TestServer::builder();
        let server = match prefix {
            Some(prefix) => builder.option("--api-prefix", prefix).start().await,
            None => builder.start().await,
        };
        let description = server.anonymous().get("/openapi.json").await.expect(200);
        let served: BTreeSet<_> = routes(&server).await.into_iter().map(|route| (route.method, route.path)).collect();
        let described = operations(&description);
        let silent: Vec<_> = served.difference(&described).collect();
        let invented: Vec<_> = described.difference(&served).collect();
        assert!(silent.is_empty() && invented.is_empty(), "{prefix:?}: {silent:#?} {invented:#?}");
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
    let server = TestServer::start().await;
    let description = server.anonymous().get("/openapi.json").await.expect(200);
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1."), "{}", description["openapi"]);
    let mut found = Vec::new();
    references(&description, &mut found);
    assert!(found.len() > 500, "{}", found.len());
    for reference in found {
        let place = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} is elsewhere"));
        assert!(description.pointer(place).is_some(), "{reference} leads nowhere");
    }
    let mut names = BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        let named: BTreeSet<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
        for method in METHODS.iter().filter(|method| item[**method].is_object()) {
            let operation = &item[*method];
            let name = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no name"));
            assert!(names.insert(name.to_owned()), "{name} is the name of two operations");
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
            let in_path: BTreeSet<&str> = in_path.filter_map(|parameter| parameter["name"].as_str()).collect();
            assert_eq!(in_path, named, "{method} {path}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(!responses.is_empty());
            for (status, response) in responses {
                let text = response["description"].as_str().unwrap_or_default();
                assert!(!text.is_empty(), "{method} {path} does not say what {status} is");
            }
        }
    }
    let schemes = description["components"]["securitySchemes"].as_object().unwrap();
    for requirement in description["security"].as_array().unwrap() {
        assert!(requirement.as_object().unwrap().keys().all(|name| schemes.contains_key(name)));
    }
}
