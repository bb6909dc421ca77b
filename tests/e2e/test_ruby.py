"""Ruby functions as their authors know them from AWS, in the sandbox: handlers, context, errors, logs, gems, layers."""

import json
import re
import subprocess

import pytest

from support.extensions import publish
from support.functions import RUBY
from support.server import ACCOUNT, REGION
from support.tools import need

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
ECHO = "def handler(event:, context:) = event\n"
EVENTS = [None, 1.5, 10**15, "ünï ☃ \U0001f600 \x00 \u2028", [1, [2, {"a": None}]], {"key": "välue", "nested": {"list": [1]}, "": 0}]


@pytest.fixture(scope="module")
def versions():
    """By which version the machine's own Ruby keeps its gems."""
    said = subprocess.run([need("ruby", "ruby"), "-e", "puts RbConfig::CONFIG['ruby_version']"],
                          capture_output=True, text=True, check=True, timeout=60)
    return said.stdout.strip()


def gem(folder, name, version, source, needs=()):
    """What `gem install` leaves of a gem of one file."""
    lines = "".join(f"  s.add_runtime_dependency {other!r}, {wanted!r}\n" for other, wanted in needs)
    specification = (f"Gem::Specification.new do |s|\n  s.name = '{name}'\n  s.version = '{version}'\n  s.summary = 'x'\n"
                     f"  s.authors = ['x']\n  s.require_paths = ['lib']\n  s.files = ['lib/{name}.rb']\n{lines}end\n")
    return {f"{folder}/specifications/{name}-{version}.gemspec": specification,
            f"{folder}/gems/{name}-{version}/lib/{name}.rb": source}


def test_events_come_back_as_they_went(functions):
    name = functions.ruby(ECHO)
    for event in EVENTS:
        answer = functions.invoke(name, event)
        assert (answer.status, answer.error, answer.value) == (200, None, event)
    big = "x" * (6 * 1024 * 1024 - 2)
    assert functions.invoke(name, big).value == big


@pytest.mark.parametrize("runtime", ["ruby3.2", "ruby3.3", "ruby3.4", "ruby4.0"])
def test_every_runtime_of_aws_is_served(functions, client, runtime):
    name = functions.ruby("def handler(event:, context:) = [ENV['AWS_EXECUTION_ENV'], RUBY_VERSION]\n", Runtime=runtime)
    assert functions.invoke(name).value[0] == f"AWS_Lambda_{runtime}"
    assert client.get_function_configuration(FunctionName=name)["Runtime"] == runtime


def test_the_context_object(functions):
    name = functions.ruby("""
        module Deep
          class App
            def self.process(event:, context:)
              left = context.get_remaining_time_in_millis
              sleep 0.05
              names = %i[function_name function_version invoked_function_arn memory_limit_in_mb aws_request_id log_group_name
                         log_stream_name deadline_ms identity client_context tenant_id]
              names.to_h { |name| [name, context.public_send(name)] }
                   .merge(left: left, less: left - context.get_remaining_time_in_millis)
            end
          end
        end
    """, Handler="app.Deep::App.process", Timeout=8, MemorySize=256)
    answer = functions.invoke(name, {})
    value = answer.value
    assert (value["function_name"], value["function_version"], value["memory_limit_in_mb"]) == (name, "$LATEST", "256")
    assert value["invoked_function_arn"] == f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
    assert value["aws_request_id"] == answer.request_id and re.fullmatch(UUID, answer.request_id)
    assert value["log_group_name"] == f"/aws/lambda/{name}" and "[$LATEST]" in value["log_stream_name"]
    assert 0 < value["left"] <= 8000 and value["less"] >= 50 and value["deadline_ms"] > 0
    assert value["identity"] is value["client_context"] is value["tenant_id"] is None


def test_errors_are_documents_and_logged(functions):
    name = functions.ruby("""
        def handler(event:, context:)
          puts "Processing event..."
          [1, 2, 3].first("two")
        end
    """)
    answer = functions.invoke(name, {})
    message = "no implicit conversion of String into Integer"
    assert answer.error == "Unhandled"
    assert (answer.value["errorMessage"], answer.value["errorType"]) == (message, "Function<TypeError>")
    assert all(frame.startswith("/var/task/app.rb:4:in ") for frame in answer.value["stackTrace"])
    lines = answer.log.splitlines()
    assert lines[1:4] == ["Processing event...", "Error raised from handler method", "{"]
    logged = answer.log[answer.log.index("{\n"):answer.log.rindex("}\n") + 1]
    assert json.loads(logged) == answer.value


def test_an_error_that_ends_the_runtime_is_answered_and_the_next_start_is_fresh(functions):
    name = functions.ruby("""
        require "securerandom"
        ID = SecureRandom.uuid
        def handler(event:, context:)
          event ? nowhere : ID
        end
    """)
    first = functions.invoke(name).value
    assert functions.invoke(name).value == first
    answer = functions.invoke(name, True)
    assert (answer.error, answer.value["errorType"]) == ("Unhandled", "Function<NameError>")
    assert functions.invoke(name).value != first


def test_a_file_that_cannot_be_loaded_is_an_error_of_the_start(functions):
    answer = functions.invoke(functions.ruby("require 'not_there'\n"))
    assert (answer.error, answer.value["errorType"]) == ("Unhandled", "Init<LoadError>")
    assert answer.value["errorMessage"] == "cannot load such file -- not_there"
    assert "Init error when loading handler" in answer.log


def test_logs_as_json(functions):
    name = functions.ruby("""
        LOG = Logger.new($stdout)
        def handler(event:, context:)
          LOG.debug("hidden")
          LOG.warn("two\\nlines")
        end
    """, LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "WARN"})
    answer = functions.invoke(name)
    records = [json.loads(line) for line in answer.log.splitlines()]
    assert [(one["level"], one["message"], one["requestId"]) for one in records] == [("WARN", "two\nlines", answer.request_id)]


def test_gems_of_package_and_layers_are_found_and_resolved(functions, client, versions):
    """A gem of the package needs one of a layer; another version of that one is too old for it."""
    bundle, layer = f"vendor/bundle/ruby/{versions}", f"ruby/gems/{versions}"
    files = {"app.rb": """
        require "upper"
        require "plain"
        def handler(event:, context:)
          [Upper::IT, Lower::IT, Plain::IT, Gem.loaded_specs["lower"].version.to_s, ENV["GEM_PATH"], ENV["RUBYLIB"], Dir.pwd]
        end
    """}
    files |= gem(bundle, "upper", "1.0", "require 'lower'\nmodule Upper; IT = 'package'; end\n", [("lower", ">= 2")])
    files |= gem(bundle, "lower", "1.9", "raise 'too old'\n")
    arn = publish(client, {"ruby/lib/plain.rb": "module Plain; IT = 'plain'; end\n",
                           **gem(layer, "lower", "2.1", "module Lower; IT = 'layer'; end\n")})
    name = functions.create(files=files, Runtime=RUBY, Layers=[arn])
    answer = functions.invoke(name)
    assert answer.error is None, answer.log
    assert answer.value[:4] == ["package", "layer", "plain", "2.1"]
    assert answer.value[4].startswith(f"/var/task/{bundle}:/opt/{layer}:")
    assert answer.value[5:] == ["/var/task:/var/runtime/lib:/opt/ruby/lib", "/var/task"]


def test_bundler_sets_up_the_gems_of_the_lock_file(functions, versions):
    if subprocess.run([need("ruby", "ruby"), "-e", "require 'bundler'"], capture_output=True, timeout=60).returncode:
        pytest.fail("the tests need Bundler (Debian: apt-get install ruby)")
    files = {
        "Gemfile": "source 'https://rubygems.org'\ngem 'locked'\n",
        "Gemfile.lock": "GEM\n  remote: https://rubygems.org/\n  specs:\n    locked (1.1)\n\nPLATFORMS\n  ruby\n\n"
                        "DEPENDENCIES\n  locked\n",
        "app.rb": """
            require "bundler/setup"
            require "locked"
            def handler(event:, context:) = [Locked::IT, Bundler.root.to_s]
        """,
        **gem(f"vendor/bundle/ruby/{versions}", "locked", "1.1", "module Locked; IT = '1.1'; end\n"),
        **gem(f"vendor/bundle/ruby/{versions}", "locked", "2.0", "module Locked; IT = '2.0'; end\n"),
    }
    name = functions.create(files=files, Runtime=RUBY, MemorySize=1769, env={"BUNDLE_GEMFILE": "/var/task/Gemfile"})
    answer = functions.invoke(name)
    assert (answer.error, answer.value) == (None, ["1.1", "/var/task"]), answer.log


def test_layers_can_be_compatible_with_ruby(client):
    from support.functions import zip_of
    published = client.publish_layer_version(LayerName="for-ruby", Content={"ZipFile": zip_of({"ruby/lib/x.rb": ""})},
                                             CompatibleRuntimes=[RUBY, "ruby4.0"])
    assert published["CompatibleRuntimes"] == [RUBY, "ruby4.0"]
    listed = client.list_layers(CompatibleRuntime="ruby4.0")["Layers"]
    assert [layer["LayerName"] for layer in listed] == ["for-ruby"]
    client.delete_layer_version(LayerName="for-ruby", VersionNumber=published["Version"])


def test_native_extensions_processes_and_threads(functions):
    name = functions.ruby("""
        require "digest"
        require "open3"
        require "openssl"
        require "zlib"
        def handler(event:, context:)
          child = fork { exit!(3) }
          out, = Open3.capture2("cat", stdin_data: "through a child")
          [Digest::SHA256.hexdigest("ruby")[0, 8], Zlib.inflate(Zlib.deflate("z")), OpenSSL::HMAC.hexdigest("SHA256", "k", "t")[0, 8],
           Process.wait2(child)[1].exitstatus, out, 4.times.map { |n| Thread.new { n * n } }.map(&:value),
           File.write("/tmp/x", "text"), (File.write("/var/task/x", "") rescue $!.class.name)]
        end
    """)
    assert functions.invoke(name).value == ["b9138194", "z", "e7fcbc16", 3, "through a child", [0, 1, 4, 9], 4, "Errno::EROFS"]
