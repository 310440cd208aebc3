//! What somebody suffers from: a condition's name where the words around speak of a person.

use super::Hit;
use crate::text::{Cues, near};

const OF_A_PERSON: Cues = Cues::new(&[
    "patient",
    "patients",
    "diagnosed",
    "diagnosis",
    "diagnoses",
    "suffers",
    "suffering",
    "suffer",
    "treated",
    "condition",
    "medical condition",
    "conditions",
    "has",
    "have",
    "she",
    "he",
    "my",
    "his",
    "her",
    "symptoms",
    "chronic",
    "diagnose",
]);

/// The condition that the lowercase `word` names, if somebody has it.
pub fn condition(text: &[u8], word: &[u8], start: usize, end: usize) -> Option<Hit<'static>> {
    let known = matches!(
        word,
        b"diabetes"
            | b"hypertension"
            | b"asthma"
            | b"depression"
            | b"hiv"
            | b"epilepsy"
            | b"cancer"
            | b"carcinoma"
            | b"leukemia"
            | b"leukaemia"
            | b"hepatitis"
            | b"schizophrenia"
            | b"bipolar"
            | b"parkinson"
            | b"alzheimer"
            | b"dementia"
            | b"tuberculosis"
            | b"sclerosis"
            | b"arthritis"
            | b"anorexia"
            | b"bulimia"
            | b"autism"
            | b"adhd"
            | b"ptsd"
            | b"chlamydia"
            | b"syphilis"
            | b"melanoma"
            | b"lymphoma"
            | b"miscarriage"
            | b"angina"
    );
    (known && near(text, start, 48, &OF_A_PERSON)).then_some(Hit { kind: "health", start, end })
}
