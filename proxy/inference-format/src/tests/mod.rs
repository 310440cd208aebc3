mod counting;
mod parsing;
mod redaction;
mod said;
mod samples;
mod translation;
