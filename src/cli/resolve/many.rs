//! `aop resolve -`: questions from standard input, one a line, asked together and answered one after the other.
//!
//! What must hold: each question has its own answer, in the order of the lines, and the exit status is that of the worst of them.

use std::io;

use aop_proto::error::{Kind, Problem};
use serde_json::{Value, json};

use super::{Resolve, exit_of};
use crate::cli::Context;
use crate::cli::client::{Reply, Request};
use crate::cli::output::{Exit, Format};
use crate::cli::text;

/// Questions of one request; the node takes no more.
const QUESTIONS_MAX: usize = 100;

impl Resolve {
    /// Whether the questions come from standard input.
    pub(super) fn reads_input(&self) -> bool {
        self.words == ["-"]
    }

    /// Asks and prints them all.
    pub(super) async fn run_many(&self, context: &mut Context) -> anyhow::Result<Exit> {
        if self.watch {
            return Err(Problem::new(Kind::Usage, "one question can be watched, not many")
                .hint("aop resolve --help")
                .into());
        }
        let input = io::read_to_string(io::stdin().lock())
            .map_err(|error| Problem::new(Kind::Usage, format!("the questions cannot be read: {error}")))?;
        let questions: Vec<&str> = input.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if questions.is_empty() {
            return Err(Problem::new(Kind::Usage, "no question stands in the input, one a line").hint("aop ls").into());
        }
        let timeout = context.client.asked_time();
        let mut exits = Vec::with_capacity(questions.len());
        for some in questions.chunks(QUESTIONS_MAX) {
            let body = self.body(("queries", json!(some)), timeout);
            let request = Request::post(&["resolve"], body.to_string()).read_only();
            let reply = context.client.send(&self.in_time(request, timeout)).await?.value()?;
            let answers = reply["answers"].as_array().map(Vec::as_slice).unwrap_or_default();
            if answers.len() != some.len() {
                let message = format!("{} questions have {} answers", some.len(), answers.len());
                return Err(Problem::new(Kind::Internal, message).hint("aop status").into());
            }
            for (question, answer) in some.iter().zip(answers) {
                exits.push(self.print_one(question, answer, context)?);
            }
        }
        Ok(worst(&exits))
    }

    fn print_one(&self, question: &str, answer: &Value, context: &Context) -> anyhow::Result<Exit> {
        let out = &context.out;
        if out.for_people() {
            out.data(&format!("{}\n", text::clean(question)))?;
        }
        if let Some(problem) = Problem::from_json(&answer["error"]) {
            out.problem(&problem);
            return Ok(exit_of_problem(&problem));
        }
        if out.format == Format::Jsonl {
            // Their results alone would not tell whose they are.
            out.data(&format!("{answer}\n"))?;
            return Ok(exit_of(answer));
        }
        let exit = self.print(question, &Reply::made(answer), answer, context)?;
        if out.for_people() {
            out.data("\n")?;
        }
        Ok(exit)
    }
}

/// Of all answers: one is missing, or not whole; else one is that nothing was found; else one line was no question.
fn worst(exits: &[Exit]) -> Exit {
    let worst = [Exit::Partial, Exit::Nothing, Exit::Usage].into_iter().find(|exit| exits.contains(exit));
    worst.unwrap_or(Exit::Complete)
}

/// What a question without an answer says to a script, among others.
fn exit_of_problem(problem: &Problem) -> Exit {
    match problem.kind.exit_code() {
        code if code == Exit::Nothing as u8 => Exit::Nothing,
        code if code == Exit::Usage as u8 => Exit::Usage,
        _ => Exit::Partial,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that is no name and one that nobody knows were told as a partial answer.
    #[test]
    fn the_exit_status_is_that_of_the_worst_line() {
        let exit = |kinds: &[Kind]| {
            let exits: Vec<Exit> = kinds.iter().map(|kind| exit_of_problem(&Problem::new(*kind, "no"))).collect();
            worst(&[&[Exit::Complete], &exits[..]].concat())
        };
        assert_eq!(exit(&[]), Exit::Complete);
        assert_eq!(exit(&[Kind::Usage, Kind::Usage]), Exit::Usage);
        assert_eq!(exit(&[Kind::Usage, Kind::NameNotFound]), Exit::Nothing);
        assert_eq!(exit(&[Kind::ZoneNotFound]), Exit::Nothing);
        assert_eq!(exit(&[Kind::Usage, Kind::NameNotFound, Kind::TimedOut]), Exit::Partial);
    }
}
