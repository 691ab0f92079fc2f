//! The permissions by name, and which role has which. A permission is a type, so that a handler's signature names it.
//! Each guards a route: a test of all routes finds none that guards nothing. Those of exams come with exams.

use super::role::Role;

/// Something that a handler asks for.
pub trait Permission: Send + Sync + 'static {
    /// Its name in replies and documents.
    const NAME: &'static str;
    /// Its place in `ALL`.
    const INDEX: usize;
}

macro_rules! permissions {
    ($($(#[$doc:meta])+ $type:ident = $name:literal),+ $(,)?) => {
        #[allow(clippy::upper_case_acronyms, reason = "names are made from the list")]
        #[derive(Clone, Copy)]
        enum Index { $($type),+ }

        $(
            $(#[$doc])+
            #[derive(Debug, Clone, Copy)]
            pub struct $type;

            impl Permission for $type {
                const NAME: &'static str = $name;
                const INDEX: usize = Index::$type as usize;
            }
        )+

        /// The names of all permissions.
        pub const ALL: &[&str] = &[$($name),+];
    };
}

permissions! {
    /// See every account.
    UsersRead = "users.read",
    /// Create and change every account.
    UsersWrite = "users.write",
    /// See students.
    StudentsRead = "students.read",
    /// Create students.
    StudentsWrite = "students.write",
    /// Create courses, name their lecturers, enrol their students.
    CoursesManage = "courses.manage",
    /// Open and close class sessions.
    SessionsManage = "sessions.manage",
    /// Submit one's own attendance.
    AttendanceSubmit = "attendance.submit",
    /// See attendance records.
    AttendanceRead = "attendance.read",
    /// Decide about attendance records.
    AttendanceReview = "attendance.review",
    /// Take attendance records out as a file.
    AttendanceExport = "attendance.export",
    /// Ask for one's own device to be bound.
    DevicesBind = "devices.bind",
    /// Approve and reset the devices of others.
    DevicesApprove = "devices.approve",
    /// Enrol one's own face reference.
    FacesEnroll = "faces.enroll",
    /// Everything that concerns the whole server.
    SystemAdmin = "system.admin",
}

const fn set(permissions: &[Index]) -> u32 {
    let mut bits = 0;
    let mut at = 0;
    while at < permissions.len() {
        bits |= 1 << permissions[at] as u32;
        at += 1;
    }
    bits
}

const STUDENT: u32 = set(&[Index::AttendanceSubmit, Index::DevicesBind, Index::FacesEnroll]);
const LECTURER: u32 = set(&[
    Index::StudentsRead,
    Index::CoursesManage,
    Index::SessionsManage,
    Index::AttendanceRead,
    Index::AttendanceReview,
    Index::AttendanceExport,
    Index::DevicesBind,
]);
const REVIEWER: u32 = set(&[Index::StudentsRead, Index::AttendanceRead, Index::AttendanceReview, Index::DevicesBind]);
const STAFF: u32 = set(&[
    Index::UsersRead,
    Index::StudentsRead,
    Index::StudentsWrite,
    Index::CoursesManage,
    Index::AttendanceRead,
    Index::AttendanceExport,
    Index::DevicesBind,
]);
const ADMIN: u32 = (1 << ALL.len()) - 1;

const fn granted(role: Role) -> u32 {
    match role {
        Role::Guest => 0,
        Role::Student => STUDENT,
        Role::Lecturer => LECTURER,
        Role::Reviewer => REVIEWER,
        Role::Staff => STAFF,
        Role::Admin => ADMIN,
    }
}

/// Whether the role has the permission.
pub const fn allows<P: Permission>(role: Role) -> bool {
    granted(role) & (1 << P::INDEX) != 0
}

/// The names of a role's permissions.
pub fn names(role: Role) -> Vec<&'static str> {
    let has = |index: &usize| granted(role) & (1 << index) != 0;
    (0..ALL.len()).filter(has).map(|index| ALL[index]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_has_all_of_them_and_a_guest_none() {
        assert_eq!(names(Role::Admin), ALL);
        assert!(names(Role::Guest).is_empty());
    }

    #[test]
    fn a_student_decides_nothing_about_others() {
        assert_eq!(names(Role::Student), ["attendance.submit", "devices.bind", "faces.enroll"]);
        assert!(allows::<AttendanceSubmit>(Role::Student));
        assert!(!allows::<AttendanceReview>(Role::Student));
        assert!(!allows::<DevicesApprove>(Role::Lecturer));
        assert!(allows::<SessionsManage>(Role::Lecturer));
    }
}
