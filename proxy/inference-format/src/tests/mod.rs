mod parsing;
mod samples;
mod translation;
