//! `geofence`: the phone was inside the circle, as far as its accuracy lets one say.

use muster_sync_core::evidence::{Check, Position};

use super::{Case, flag, measured, pass, skipped, unavailable};
use crate::class_sessions::Geofence;

const NAME: &str = "geofence";

/// A worse accuracy says nothing about a room or a building, in metres.
const ACCURACY_M_MAX: u32 = 200;
/// What an accuracy that nobody knows counts as: it says nothing either.
const ACCURACY_M_UNKNOWN: u32 = ACCURACY_M_MAX + 1;
/// Mean radius of the earth in metres.
const EARTH_RADIUS_M: f64 = 6_371_008.8;

pub(super) fn check(case: &Case<'_>) -> Check {
    let Some(fence) = case.input.session.geofence else { return skipped(NAME, "no_geofence") };
    let Some(manifest) = case.input.manifest else { return unavailable(NAME, "manifest_missing") };
    let Some(position) = &manifest.position else { return flag(NAME, "position_missing") };
    // Of a phone that does not know how exact it is, only that much can be said: a missing accuracy is not a perfect one.
    let accuracy_m = position.known_accuracy_m().unwrap_or(ACCURACY_M_UNKNOWN);
    let outside_m = (distance_m(position, &fence) - f64::from(accuracy_m)).max(0.0);
    let check = if outside_m > fence.radius_m as f64 {
        flag(NAME, "outside_geofence")
    } else if accuracy_m > ACCURACY_M_MAX {
        flag(NAME, "position_imprecise")
    } else {
        pass(NAME)
    };
    // Documents never hold a position; whole metres from the centre tell no more than the check has to.
    measured(check, outside_m.round(), fence.radius_m as f64)
}

/// Great-circle distance by the haversine formula.
fn distance_m(position: &Position, fence: &Geofence) -> f64 {
    let radians = |e7: i64| (e7 as f64 / 1e7).to_radians();
    let (latitude, centre) = (radians(position.latitude_e7), radians(fence.latitude_e7));
    let (by_latitude, by_longitude) = (centre - latitude, radians(fence.longitude_e7) - radians(position.longitude_e7));
    let squared = |angle: f64| (angle / 2.0).sin().powi(2);
    let chord = squared(by_latitude) + latitude.cos() * centre.cos() * squared(by_longitude);
    2.0 * EARTH_RADIUS_M * chord.clamp(0.0, 1.0).sqrt().asin()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Facts, outcome_of, reason_of};
    use super::*;
    use muster_sync_core::evidence::CheckOutcome;

    /// A phone that is `north_m` metres north of the centre of a fence of 100 m.
    fn facts(north_m: f64, accuracy_m: u32) -> Facts {
        let mut facts = Facts::honest();
        let fence = facts.session.geofence.unwrap();
        let degrees = (north_m / EARTH_RADIUS_M).to_degrees();
        facts.manifest.as_mut().unwrap().position = Some(Position {
            latitude_e7: fence.latitude_e7 + (degrees * 1e7).round() as i64,
            longitude_e7: fence.longitude_e7,
            accuracy_m,
            mocked: false,
        });
        facts
    }

    #[test]
    fn the_fence_is_judged_in_favour_of_what_the_accuracy_allows() {
        let reason = |north, accuracy| reason_of(check, &facts(north, accuracy));
        assert_eq!(reason(99.0, 1), None);
        assert_eq!(reason(102.0, 1).as_deref(), Some("outside_geofence"));
        assert_eq!(reason(149.0, 50), None);
        assert_eq!(reason(151.0, 50).as_deref(), Some("outside_geofence"));
    }

    #[test]
    fn an_accuracy_that_says_nothing_is_flagged_unless_the_phone_was_outside_all_the_same() {
        let reason = |north, accuracy| reason_of(check, &facts(north, accuracy));
        assert_eq!(reason(0.0, 200), None);
        assert_eq!(reason(0.0, 201).as_deref(), Some("position_imprecise"));
        assert_eq!(reason(2_000.0, 500).as_deref(), Some("outside_geofence"));
        assert_eq!(reason(0.0, 0).as_deref(), Some("position_imprecise"), "unknown is not exact");
        assert_eq!(reason(130.0, 0).as_deref(), Some("position_imprecise"));
        assert_eq!(reason(2_000.0, 0).as_deref(), Some("outside_geofence"));
    }

    #[test]
    fn a_missing_position_matters_only_where_there_is_a_fence() {
        let mut facts = facts(0.0, 5);
        facts.manifest.as_mut().unwrap().position = None;
        assert_eq!(reason_of(check, &facts).as_deref(), Some("position_missing"));
        facts.session.geofence = None;
        assert_eq!(outcome_of(check, &facts), CheckOutcome::Skipped);
    }

    #[test]
    fn distances_are_those_of_the_globe() {
        let at = |latitude: f64, longitude: f64| Position {
            latitude_e7: (latitude * 1e7) as i64,
            longitude_e7: (longitude * 1e7) as i64,
            accuracy_m: 0,
            mocked: false,
        };
        let fence = |latitude: f64, longitude: f64| {
            let position = at(latitude, longitude);
            Geofence { latitude_e7: position.latitude_e7, longitude_e7: position.longitude_e7, radius_m: 1 }
        };
        let berlin_to_paris = distance_m(&at(52.52, 13.405), &fence(48.8566, 2.3522));
        assert!((berlin_to_paris - 877_463.0).abs() < 500.0, "{berlin_to_paris}");
        let over_the_date_line = distance_m(&at(0.0, 179.9995), &fence(0.0, -179.9995));
        assert!((over_the_date_line - 111.2).abs() < 0.5, "{over_the_date_line}");
    }
}
