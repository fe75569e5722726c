//! Questions as tests ask them.

use aop_proto::wire::message::{Form, Question};

/// A question for words, over the whole federation.
pub fn words(text: &str) -> Question {
    question(Form::Words, text)
}

/// A question for a full name.
pub fn name(text: &str) -> Question {
    question(Form::Exact, text)
}

/// Any question without filters.
pub fn question(form: Form, text: &str) -> Question {
    let (tags, capabilities, after) = (Vec::new(), Vec::new(), String::new());
    Question { form, text: text.to_owned(), zone: None, limit: 10, tags, capabilities, after }
}
