//! The three forms of a list, of one thing, and of nothing.

use serde_json::json;

use super::*;

const COLUMNS: &[Column] = &[
    left("CLIENT", |row| row.text("id")),
    right("N", |row| row.text("n")),
    left("USER", |row| row.text("user")),
];

fn printer(format: Format) -> Printer<Vec<u8>> {
    Printer { out: Vec::new(), format, has_color: false }
}

fn text(printer: Printer<Vec<u8>>) -> String {
    String::from_utf8(printer.out).unwrap()
}

fn page(rows: &[Value]) -> Result<Rows, ApiError> {
    let raw = |row: &Value| serde_json::value::to_raw_value(row).unwrap();
    Ok(rows.iter().map(raw).collect())
}

fn listed(format: Format, pages: Vec<Result<Rows, ApiError>>) -> String {
    let mut printer = printer(format);
    let emqx = |row: &Row| format!("Row({}, user={})", row.raw("id"), row.raw("user"));
    printer.list(pages, &Listing { columns: COLUMNS, what: "rows", emqx: &emqx }).unwrap();
    text(printer)
}

fn two_pages() -> Vec<Result<Rows, ApiError>> {
    vec![
        page(&[
            json!({"id": "a", "n": 1, "user": "undefined"}),
            json!({"id": "täg", "n": 1000, "user": "u"}),
        ]),
        page(&[json!({"id": "much longer", "n": 7, "user": "\u{1b}[31m\n"})]),
    ]
}

#[test]
fn columns_are_as_wide_as_the_first_page_needs() {
    let expected = "CLIENT     N  USER\n\
                    a          1  -\n\
                    täg     1000  u\n\
                    much longer     7  \\u{1b}[31m\\n\n";
    assert_eq!(listed(Format::Table, two_pages()), expected);
}

#[test]
fn a_page_without_rows_has_no_titles() {
    assert_eq!(listed(Format::Table, vec![page(&[])]), "");
    assert_eq!(listed(Format::Emqx, vec![page(&[])]), "");
    assert_eq!(listed(Format::Json, vec![page(&[])]), "[]\n");
}

#[test]
fn json_is_one_array_of_rows_as_they_came() {
    let expected = "[\n{\"id\":\"a\",\"n\":1,\"user\":\"undefined\"},\n{\"id\":\"täg\",\"n\":1000,\"user\":\"u\"},\n\
                    {\"id\":\"much longer\",\"n\":7,\"user\":\"\\u001b[31m\\n\"}\n]\n";
    assert_eq!(listed(Format::Json, two_pages()), expected);
}

#[test]
fn emqx_has_a_line_a_row() {
    let expected =
        "Row(a, user=undefined)\nRow(täg, user=u)\nRow(much longer, user=\\u{1b}[31m\\n)\n";
    assert_eq!(listed(Format::Emqx, two_pages()), expected);
}

#[test]
fn a_failing_page_ends_the_list_with_its_error() {
    let mut printer = printer(Format::Table);
    let pages = vec![page(&[json!({"id": "a"})]), Err(ApiError::NotFound("gone".to_owned()))];
    let listing = Listing { columns: COLUMNS, what: "rows", emqx: &|_| String::new() };
    assert_eq!(printer.list(pages, &listing).unwrap_err().to_string(), "gone");
}

#[test]
fn wide_characters_take_two_columns() {
    let rows = vec![page(&[json!({"id": "温度", "n": 1}), json!({"id": "abcd", "n": 2})])];
    assert_eq!(listed(Format::Table, rows), "CLIENT  N  USER\n温度    1  -\nabcd    2  -\n");
}

#[test]
fn pairs_are_aligned_and_titles_bold_where_there_is_colour() {
    let pairs = [("name", "x".to_owned()), ("longer name", "y\u{202E}".to_owned())];
    let print = |format, has_color| {
        let mut printer = printer(format);
        printer.has_color = has_color;
        let data = serde_json::value::to_raw_value(&json!({"name": "x"})).unwrap();
        printer.pairs(Some(&data), &pairs, || vec!["name: x".to_owned()]).unwrap();
        text(printer)
    };
    assert_eq!(print(Format::Table, false), "name         x\nlonger name  y\\u{202e}\n");
    let bold = print(Format::Table, true);
    assert!(bold.starts_with("\x1b[1mname\x1b[0m         x\n"), "{bold:?}");
    assert_eq!(print(Format::Json, false), "{\"name\":\"x\"}\n");
    assert_eq!(print(Format::Emqx, false), "name: x\n");
}

#[test]
fn what_was_done_is_said_in_the_form_asked_for() {
    let print = |format| {
        let mut printer = printer(format);
        printer.done(None, "kicked 'a'", "ok").unwrap();
        text(printer)
    };
    assert_eq!(print(Format::Table), "kicked 'a'\n");
    assert_eq!(print(Format::Emqx), "ok\n");
    assert_eq!(print(Format::Json), "{\"code\":0}\n");
}

#[test]
fn a_refusal_is_a_line_of_emqx_ctl_or_an_error() {
    let refuse = |format| {
        let mut printer = printer(format);
        let error = ApiError::Refused { code: 102, message: "already_started".to_owned() };
        let error = printer.refused(error, |why| format!("load plugin error: {why}"));
        (text(printer), error)
    };
    let (line, error) = refuse(Format::Emqx);
    assert_eq!(line, "load plugin error: already_started\n");
    assert_eq!(output::exit_status(&error), 1);
    let (line, error) = refuse(Format::Table);
    assert_eq!(line, "");
    assert_eq!(error.to_string(), "already_started (code 102)");
}
