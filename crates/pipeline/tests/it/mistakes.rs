//! Every mistake that a pipeline file can have, as the user sees it.

use miette::{GraphicalReportHandler, GraphicalTheme};

use crate::app::{WHOLE, load};

/// The diagnostics of a file as a terminal without colours shows them.
fn render(text: &str, overrides: &[&str]) -> String {
    let Err(error) = load(text, overrides) else {
        return "no mistakes".to_owned();
    };
    let mut out = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(110).with_context_lines(1);
    handler.render_report(&mut out, &error).unwrap();
    out.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

const HEAD: &str = "version = 1\n";
const SOURCE: &str = "[stage.math]\nkind = \"source\"\nrows = 3\n";

/// Name, file, overrides.
fn corpus() -> Vec<(&'static str, String, Vec<&'static str>)> {
    let stage = |text: &str| format!("{HEAD}{SOURCE}{text}");
    let teacher = |text: &str| format!("{HEAD}[teacher.t]\nkind = \"openai\"\n{text}\n{SOURCE}");
    vec![
        ("toml_syntax", "version = 1\nseed = = 3\n[stage.a\nkind = \"source\"\n".into(), vec![]),
        ("toml_duplicate", format!("{HEAD}{SOURCE}[stage.math]\nkind = \"source\"\n"), vec![]),
        ("empty", String::new(), vec![]),
        ("version_missing", SOURCE.into(), vec![]),
        ("version_other", format!("version = 2\n{SOURCE}"), vec![]),
        ("no_stages", HEAD.into(), vec![]),
        ("top_level_key", format!("{HEAD}sead = 4\n{SOURCE}"), vec![]),
        ("top_level_section", stage("[stages.b]\nkind = \"source\"\n"), vec![]),
        ("seed_negative", format!("{HEAD}seed = -1\n{SOURCE}"), vec![]),
        ("stage_is_no_table", "version = 1\nstage = 3\n".into(), vec![]),
        ("one_stage_is_no_table", "version = 1\nstage.a = 3\n".into(), vec![]),
        ("bad_names", stage("[stage.\"Über cool\"]\nkind = \"source\"\nrows = 1\n[stage.-x]\nkind = \"source\"\nrows = 1\n"), vec![]),
        ("long_name", stage(&format!("[stage.{}]\nkind = \"source\"\nrows = 1\n", "x".repeat(65))), vec![]),
        ("kind_missing", stage("[stage.b]\nrows = 1\n"), vec![]),
        ("kind_unknown", stage("[stage.b]\nkind = \"filtre\"\ninputs = [\"math\"]\n"), vec![]),
        ("kind_is_a_number", stage("[stage.b]\nkind = 3\n"), vec![]),
        ("unknown_keys", stage("[stage.b]\nkind = \"filter\"\ninput = [\"math\"]\nwhere = \"x\"\nper_problm = 3\nzzz = 1\n"), vec![]),
        ("missing_keys", stage("[stage.b]\nkind = \"filter\"\ninputs = [\"math\"]\nper_problem = { keep = 1 }\n"), vec![]),
        (
            "several_wrong_types",
            stage("[stage.b]\nkind = \"filter\"\ninputs = [\"math\"]\nwhere = 3\nper_problem = { keep = \"one\", order_by = [], wieghts = { a = \"x\" } }\n"),
            vec![],
        ),
        ("wrong_type_in_a_map", stage("[stage.b]\nkind = \"filter\"\ninputs = [\"math\"]\nwhere = \"x\"\nper_problem = { keep = 1, order_by = \"cost_usd\", weights = { a = \"x\", b = 2 } }\n"), vec![]),
        ("out_of_range", teacher("model = \"m\"\nprice = { input_per_million = -1, output_per_million = 0.3 }"), vec![]),
        ("too_large_for_its_type", stage("[stage.b]\nkind = \"filter\"\ninputs = [\"math\"]\nwhere = \"x\"\nper_problem = { keep = 5000000000, order_by = \"cost_usd\" }\n"), vec![]),
        ("refused_by_its_own_check", stage("[stage.b]\nkind = \"train\"\ninputs = [\"math\"]\nepochs = 0\n"), vec![]),
        ("wrong_length", stage("[stage.b]\nkind = \"train\"\ninputs = [\"math\"]\nbetas = [0.9]\nstudent = \"\"\n"), vec![]),
        ("enum_value", stage("[stage.b]\nkind = \"train\"\ninputs = [\"math\"]\nschedule = { kind = \"cosin\" }\n"), vec![]),
        ("enum_with_data", stage("[stage.b]\nkind = \"filter\"\ninputs = [\"math\"]\nwhere = \"x\"\nper_problem = { keep = 1, order_by = { colum = \"a\" } }\n"), vec![]),
        ("nested_table_header", stage("[stage.b]\nkind = \"train\"\ninputs = [\"math\"]\n[stage.b.schedule]\nwarmup = 0.1\n"), vec![]),
        ("inputs_is_a_string", stage("[stage.b]\nkind = \"filter\"\nwhere = \"x\"\ninputs = \"math\"\n"), vec![]),
        ("inputs_hold_a_number", stage("[stage.b]\nkind = \"filter\"\nwhere = \"x\"\ninputs = [\"math\", 3]\n"), vec![]),
        ("input_unknown", stage("[stage.b]\nkind = \"filter\"\nwhere = \"x\"\ninputs = [\"maths\"]\n"), vec![]),
        ("input_twice", stage("[stage.b]\nkind = \"filter\"\nwhere = \"x\"\ninputs = [\"math\", \"math\"]\n"), vec![]),
        ("output_unknown", stage("[stage.b]\nkind = \"filter\"\nwhere = \"x\"\ninputs = [\"math\"]\n[stage.c]\nkind = \"filter\"\nwhere = \"x\"\ninputs = [\"b.droped\"]\n"), vec![]),
        ("wrong_port", stage("[stage.b]\nkind = \"eval\"\nbenchmark = \"x\"\ninputs = [\"math\"]\n"), vec![]),
        ("mixed_ports", WHOLE.replace("inputs = [\"traces\"]", "inputs = [\"traces\", \"math\"]"), vec![]),
        ("inputs_missing", stage("[stage.b]\nkind = \"filter\"\nwhere = \"x\"\n"), vec![]),
        ("inputs_too_many", stage("[stage.b]\nkind = \"source\"\nrows = 1\ninputs = [\"math\"]\n"), vec![]),
        ("init_from_not_taken", stage("[stage.b]\nkind = \"filter\"\nwhere = \"x\"\ninputs = [\"math\"]\ninit_from = \"math\"\n"), vec![]),
        ("init_from_no_model", WHOLE.replace("init_from = \"sft\"", "init_from = \"kept\""), vec![]),
        ("cycle_of_one", stage("[stage.b]\nkind = \"filter\"\nwhere = \"x\"\ninputs = [\"b\"]\n"), vec![]),
        (
            "cycle_of_three",
            stage("[stage.b]\nkind = \"filter\"\nwhere = \"x\"\ninputs = [\"d\"]\n[stage.c]\nkind = \"filter\"\nwhere = \"x\"\ninputs = [\"math\", \"b\"]\n[stage.d]\nkind = \"filter\"\nwhere = \"x\"\ninputs = [\"c\"]\n[stage.e]\nkind = \"filter\"\nwhere = \"x\"\ninputs = [\"d\"]\n"),
            vec![],
        ),
        ("semantic_checks", WHOLE.replace("teacher = \"qwq\"", "teacher = \"qwen\"").replace("rows = 10", "rows = 10\npath = \"no/such.file\""), vec![]),
        ("teacher_kind", format!("{HEAD}[teacher.t]\nkind = \"open_ai\"\n{SOURCE}"), vec![]),
        (
            "a_teacher_with_mistakes_is_known",
            WHOLE.replace("model = \"QwQ-32B\"", "modell = \"QwQ-32B\""),
            vec![],
        ),
        ("all_at_once", "version = 1\nsede = 1\n[stage.a]\nkind = \"source\"\nrows = \"x\"\nbad = 1\n[stage.b]\nkind = \"filter\"\ninputs = [\"a\", \"zzzzzz\"]\n".into(), vec![]),
        ("override_unknown_stage", WHOLE.into(), vec!["stage.stf.epochs=1"]),
        ("override_unknown_teacher", WHOLE.into(), vec!["teacher.gpt.model=x"]),
        ("override_unknown_key", WHOLE.into(), vec!["stage.sft.epoch=1"]),
        ("override_wrong_value", WHOLE.into(), vec!["seed=7", "stage.traces.samples=0", "stage.sft.schedule.kind=cosin"]),
        ("override_broken_value", WHOLE.into(), vec!["stage.kept.inputs=[\"math\""]),
        ("override_without_equals", WHOLE.into(), vec!["stage.sft.epochs"]),
        ("override_bad_path", WHOLE.into(), vec!["stage..x=1", "=1", "[stage]=1", ""]),
        ("override_through_a_value", WHOLE.into(), vec!["stage.sft.epochs.x=1"]),
        ("override_injects_lines", WHOLE.into(), vec!["seed=1\n[stage.x]\nkind = \"source\""]),
    ]
}

#[test]
fn every_mistake_is_told_at_its_place() {
    for (name, text, overrides) in corpus() {
        let rendered = render(&text, &overrides);
        assert_ne!(rendered, "no mistakes", "{name}");
        insta::assert_snapshot!(name, rendered);
    }
}

const SECRET: &str = "hunter2";

/// Files that hold a secret, whether they are right otherwise or not.
fn leaks() -> Vec<(&'static str, String, Vec<&'static str>)> {
    let teacher = |text: &str| format!("{HEAD}[teacher.t]\nkind = \"openai\"\n{text}\n{SOURCE}");
    vec![
        ("secret_api_key", teacher("api_key = \"hunter2\"\nmodl = \"m\""), vec![]),
        ("secret_value", teacher("model = \"sk-hunter2-hunter2\""), vec![]),
        ("secret_header", teacher("model = \"m\"\nheaders = { Authorization = \"Bearer hunter2\" }"), vec![]),
        ("secret_in_variable_name", teacher("model = \"m\"\napi_key_env = \"hunter2-hunter2\""), vec![]),
        ("secret_as_key", teacher("model = \"m\"\nsk-hunter2-hunter2 = 1"), vec![]),
        ("secret_in_url", teacher("model = \"m\"\nbase_url = \"http://me:hunter2@host/v1\""), vec![]),
        ("secret_unquoted", teacher("api_key = hunter2\nmodel = \"m\""), vec![]),
        ("secret_unclosed", teacher("model = \"m\"\ntoken = \"\"\"\nhunter2\n"), vec![]),
        ("secret_multiline", teacher("model = \"m\"\ntoken = \"\"\"\nhunter2\"\"\""), vec![]),
        ("secret_escaped", teacher("model = \"m\"\npassword = \"\\u0068unter2 hunter2\""), vec![]),
        (
            "secret_in_inputs",
            format!("{HEAD}{SOURCE}[stage.b]\nkind = \"filter\"\nwhere = \"x\"\ninputs = [\"sk-hunter2-hunter2\"]\n"),
            vec![],
        ),
        ("secret_in_comment", teacher("# api_key = \"hunter2\" \nmodl = \"m\""), vec![]),
        ("secret_in_override", teacher("model = \"m\""), vec!["teacher.t.api_key=hunter2"]),
        (
            "secret_in_bad_override",
            teacher("model = \"m\""),
            vec!["teacher.t.api_key=[hunter2", "teacher.x.token=hunter2", "api_key=hunter2"],
        ),
        ("secret_in_override_path", teacher("model = \"m\""), vec!["teacher.sk-hunter2-hunter2.x=1", "stage.math.sk-hunter2-hunter2=1"]),
        ("secret_walked_through", teacher("model = \"m\"\napi_key = \"hunter2\""), vec!["teacher.t.api_key.x=1"]),
        ("secret_in_a_table", teacher("model = \"m\"\n[teacher.t.api_key]\nvalue = \"hunter2\""), vec![]),
        ("secret_in_an_array", teacher("model = \"m\"\ntoken = [\n\"hunter2\",\n]"), vec![]),
    ]
}

#[test]
fn secrets_are_refused_and_never_shown() {
    for (name, text, overrides) in leaks() {
        let rendered = render(&text, &overrides);
        assert!(!rendered.contains(SECRET), "{name} leaks:\n{rendered}");
        assert_ne!(rendered, "no mistakes", "{name}");
        let error = load(&text, &overrides).err().unwrap();
        assert!(!format!("{error:?}").contains(SECRET), "{name} leaks through Debug");
        insta::assert_snapshot!(name, rendered);
    }
}
