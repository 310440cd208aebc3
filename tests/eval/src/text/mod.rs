//! What values stand in: prose, data, code, logs. And texts that hold nothing but look as if they did.

mod carriers;
mod negatives;

pub use carriers::{NAMES, carry};
pub use negatives::negative;

use crate::random::Random;

/// Harmless prose, a sentence at a time: tuned and held out share none.
pub fn filler(held_out: bool, r: &mut Random) -> &'static str {
    const TUNED: &[&str] = &[
        "Please summarise the following in two sentences.",
        "I have been trying to fix this since yesterday and I am running out of ideas.",
        "Könntest du das bitte prüfen und mir eine kurze Antwort schreiben?",
        "¿Puedes revisar este texto y decirme qué falta?",
        "The build is green, but the deployment still fails on the second node.",
        "Rewrite this so that a customer understands it.",
        "Merci de vérifier le contenu avant l'envoi.",
        "There were 3 errors and 12 warnings in the last run.",
        "What would you change about the paragraph below?",
        "My manager wants an answer by Friday, so be brief.",
        "Scrivi una risposta gentile ma ferma.",
        "Refactor the handler; keep its behaviour as it is.",
        "Por favor, explique em termos simples.",
        "We saw 40 % more traffic in the third quarter of 2023.",
        "Fasse den Vorgang in Stichpunkten zusammen.",
        "Here is what the tool printed:",
    ];
    const HELD: &[&str] = &[
        "Can you turn this into a short announcement?",
        "Nobody on the team has looked at it since Tuesday.",
        "Bitte übersetze das Folgende ins Englische.",
        "Explique-moi cela comme si j'avais cinq ans.",
        "The second run took 41 seconds, the third one 38.",
        "Compare both variants and name the cheaper one.",
        "Necesito una lista de los pasos que faltan.",
        "What does the error in line 212 mean?",
    ];
    r.pick(if held_out { HELD } else { TUNED })
}
