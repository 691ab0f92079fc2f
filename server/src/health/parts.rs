//! What can be done without, looked at from outside: whether mail leaves, faces can be read, and there is room to write.

use std::sync::Arc;

use crate::app::App;
use crate::face_engine::FaceEngine;
use crate::mail::Mailer;

/// How the parts stand that are no store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    /// The last message left, or could have.
    pub(super) mail: bool,
    /// Models are loaded.
    pub(super) faces: bool,
    /// What was written last found room.
    pub(super) storage: bool,
}

impl Parts {
    /// As they stand now; nobody is asked.
    pub(super) fn of(app: &App) -> Self {
        let engine = app.slice::<Arc<dyn FaceEngine>>();
        Self {
            mail: Mailer::works(app),
            faces: engine.is_some_and(|engine| engine.model_version().is_ok()),
            storage: !app.db.storage_fails(),
        }
    }

    /// Whether everything works that somebody relies on: faces are missed where an institution compares them.
    pub(super) fn suffice(self, faces_wanted: bool) -> bool {
        self.mail && self.storage && (self.faces || !faces_wanted)
    }
}
