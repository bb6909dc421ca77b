# frozen_string_literal: true

# The Ruby runtime client of Lambic: AWS Lambda's Runtime API on one raw socket.
#
# Life: take over the inherited socket (or connect to AWS_LAMBDA_RUNTIME_API), require the function's
# file, then for ever: ask for an event, call the handler, send its result or error. What a function can
# see (context object, error documents, log format, exit codes) is as on AWS, and so is what it finds
# loaded: JSON and Time's additions at once, what else AWS's client loads as soon as somebody names it.
# When the platform closes the socket the process ends quietly.
#
# A spare is started before there is a function: it rehearses, asks what it becomes and waits, takes on
# the function's variables and working directory, and goes on as above. Nothing here may have kept a
# variable of the function's before that. A zygote stands still when it has rehearsed and is forked for each
# spare that is wanted.
#
# Standard library only, Ruby 3.0 and later.

require "json"
require "time"

{
  Logger: "logger", StringIO: "stringio", Net: "net/http", URI: "uri", Timeout: "timeout", OpenSSL: "openssl",
  Socket: "socket", BasicSocket: "socket", TCPSocket: "socket", TCPServer: "socket", UDPSocket: "socket",
  UNIXSocket: "socket", UNIXServer: "socket", IPSocket: "socket", Addrinfo: "socket", SocketError: "socket"
}.each do |name, file|
  Object.autoload(name, file) unless Object.const_defined?(name)
end

# What is between the platform and a function.
module LambicRuntime
  API = "/2018-06-01/runtime/"
  HEAD_BYTES_MAX = 1 << 20
  CHUNK_BYTES = 1 << 16
  # On which a zygote is told to fork.
  TEMPLATE_FD = 6
  AGENT = "lambic-ruby/#{RUBY_VERSION}"

  # An event as it came: what a marshaller of the function's own gets.
  class Event
    attr_reader :body

    def initialize(headers, body)
      @headers = headers
      @body = body
    end

    def [](name)
      @headers[name.downcase]
    end
  end

  # HTTP/1.1 to the Runtime API, one request at a time.
  class Connection
    def initialize
      inherited = ENV.delete("_LAMBIC_RUNTIME_FD")
      @io = inherited ? IO.for_fd(inherited.to_i, "r+b", autoclose: false) : connected
      # The function's own child processes have no business with it.
      @io.close_on_exec = true
      @io.sync = true
      @chunk = String.new(capacity: CHUNK_BYTES)
      @rest = String.new
    end

    def start
      @host = ENV.fetch("AWS_LAMBDA_RUNTIME_API")
      @next = "GET #{API}invocation/next HTTP/1.1\r\nHost: #{@host}\r\nUser-Agent: #{AGENT}\r\n\r\n"
    end

    # The platform takes a zygote that has said something for one that has loaded itself.
    def stand
      transmit("\n")
    end

    # Waits until there is a function, and takes on what it was to be started with.
    def become
      transmit("GET /lambic/become HTTP/1.1\r\nHost: lambic\r\n\r\n")
      status, _, body = receive
      LambicRuntime.finish if status != "200"
      take_on(JSON.parse(body))
    end

    def take_on(becomes)
      variables = becomes["env"]
      (ENV.keys - variables.keys).each { |name| ENV.delete(name) }
      variables.each { |name, value| ENV[name] = value if ENV[name] != value }
      ENV.delete("_LAMBIC_RUNTIME_FD")
      Dir.chdir(becomes["cwd"])
    end

    # The next event.
    def next
      transmit(@next)
      status, headers, body = receive
      # The platform is done with this environment, for instance after a timeout.
      LambicRuntime.finish if status != "200"
      Event.new(headers, body)
    end

    def post(path, body, more)
      head = "POST #{API}#{path} HTTP/1.1\r\nHost: #{@host}\r\nUser-Agent: #{AGENT}\r\n" \
             "#{more}Content-Length: #{body.bytesize}\r\n\r\n"
      transmit(head, body)
      receive
    end

    private

    def connected
      require "socket"
      name, _, port = ENV.fetch("AWS_LAMBDA_RUNTIME_API").rpartition(":")
      socket = TCPSocket.new(name, port.to_i)
      socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
      socket
    end

    def transmit(*parts)
      @io.write(*parts)
    rescue SystemCallError, IOError
      LambicRuntime.finish
    end

    # Status, headers (lower-case names) and body of an answer.
    def receive
      data = @rest
      until (stop = data.index("\r\n\r\n"))
        LambicRuntime.finish if data.bytesize > HEAD_BYTES_MAX
        data << read
      end
      headers = {}
      status, *lines = data.byteslice(0, stop).force_encoding(Encoding::UTF_8).split("\r\n")
      lines.each do |line|
        name, _, value = line.partition(":")
        headers[name.downcase] = value.strip
      end
      length = headers["content-length"].to_i
      data << read while data.bytesize < stop + 4 + length
      body = data.byteslice(stop + 4, length).force_encoding(Encoding::UTF_8)
      @rest = data.byteslice(stop + 4 + length, data.bytesize)
      [status[9, 3], headers, body]
    end

    def read
      @io.readpartial(CHUNK_BYTES, @chunk)
    rescue SystemCallError, IOError
      LambicRuntime.finish
    end
  end

  # An error of the function or of this client, as AWS tells it.
  class Failure
    NAMED = %w[
      ArgumentError NoMethodError Exception StandardError NameError LoadError SystemExit SystemStackError
    ].freeze
    FRAMES_MAX = 100

    attr_reader :document

    def initialize(error, kind)
      @name = error.class.to_s
      @document = {
        errorMessage: LambicRuntime.utf8(message(error)), errorType: "#{kind}<#{@name}>", stackTrace: trace(error)
      }
    end

    # For the platform's own records, which take only names that AWS knows.
    def type
      NAMED.include?(@name) ? @document[:errorType] : "Function<UserException>"
    end

    private

    # Ruby before 3.2 adds guesses and a picture of the line to the message itself.
    def message(error)
      plain = error.respond_to?(:detailed_message) || !error.respond_to?(:original_message)
      plain ? error.message : error.original_message
    end

    # Without what this client did on the way to the function.
    def trace(error)
      frames = error.backtrace_locations || error.backtrace || []
      frames.first(FRAMES_MAX).map { |frame| LambicRuntime.utf8(frame) }.take_while { |frame| !frame.start_with?("#{__FILE__}:") }
    end
  end

  # What carries an event's answer to the platform.
  class Server
    def initialize(connection, handler)
      @connection = connection
      @handler = handler
    end

    def run
      loop { serve(take) }
    end

    private

    def take
      @connection.next
    rescue SignalException
      # As AWS's client: the end was asked for while nothing was being done.
      exit(0)
    end

    def serve(event)
      $_global_aws_request_id = event["lambda-runtime-aws-request-id"]
      ENV["_X_AMZN_TRACE_ID"] = event["lambda-runtime-trace-id"]
      begin
        context = LambdaContext.new(event)
        request = AwsLambda::Marshaller.marshall_request(event)
      rescue StandardError => error
        return fail_with(error, "Runtime", nil, 254)
      end
      answer(request, context)
    end

    def answer(request, context)
      body, type = AwsLambda::Marshaller.marshall_response(@handler.call_handler(request: request, context: context))
    rescue NameError => error
      fail_with(error, "Function", "Critical exception from handler", 255)
    rescue StandardError => error
      fail_with(error, "Function", "Error raised from handler method", nil)
    rescue Exception => error
      fail_with(error, "Function", "Critical exception from handler", 255)
    else
      respond(body, type)
    end

    def respond(body, type)
      body = body.read if type == "application/unknown"
    rescue StandardError => error
      fail_with(error, "Runtime", nil, 254)
    else
      LambicRuntime.flush
      more = "Content-Type: #{type || "application/json"}\r\n"
      @connection.post("invocation/#{$_global_aws_request_id}/response", body.to_s, more)
    end

    # Tells the error; with a code it is one after which AWS's client ends.
    def fail_with(error, kind, words, code)
      failure = Failure.new(error, kind)
      LambicRuntime.log_failure(words, failure) if words
      more = "Content-Type: application/json\r\nLambda-Runtime-Function-Error-Type: #{LambicRuntime.header(failure.type)}\r\n"
      @connection.post("invocation/#{$_global_aws_request_id}/error", failure.document.to_json, more)
      exit(code) if code
    end
  end

  class << self
    # The platform has closed the connection: this environment is over.
    def finish
      flush
      exit!(0)
    end

    def flush
      STDOUT.flush
      STDERR.flush
    rescue SystemCallError, IOError
      nil
    end

    # Writes text that ends in a line break; of several lines as a frame, so that the platform keeps it
    # together. A frame goes to standard output, so that it keeps its place among what is printed, and in
    # one piece.
    def write(text)
      text = utf8(text)
      if text.index("\n") != text.length - 1
        head = [0xa55a0003, text.bytesize, Process.clock_gettime(Process::CLOCK_REALTIME, :microsecond)]
        text = head.pack("NNQ>") << text.b
      end
      STDOUT.write(text)
      STDOUT.flush
    end

    # What `puts` prints, as one record.
    def puts(things)
      lines = things.flatten.map { |thing| thing.to_s }
      lines << "" if lines.empty?
      write(lines.map { |line| line.end_with?("\n") ? line : "#{line}\n" }.join)
    end

    def log_failure(words, failure)
      puts([words])
      puts([JSON.pretty_generate(failure.document)])
    end

    def utf8(text)
      text = text.to_s
      return text if text.encoding == Encoding::UTF_8 && text.valid_encoding?

      text = text.dup.force_encoding(Encoding::UTF_8) if text.encoding == Encoding::BINARY
      text.encode(Encoding::UTF_8, invalid: :replace, undef: :replace).scrub
    end

    def header(text)
      text.gsub(/[^ -~]/, "")
    end

    def is_json?
      ENV["AWS_LAMBDA_LOG_FORMAT"].to_s.upcase == "JSON"
    end

    # The locale is the interpreter's business only; see the platform's side, plan.rs.
    def forget_locale
      ENV.delete("LC_CTYPE") if ENV.delete("_LAMBIC_CTYPE")
    end

    # The handler; a function that cannot be loaded ends the process.
    def load(connection)
      root = Dir.pwd
      $LOAD_PATH.unshift(root) unless $LOAD_PATH.include?(root)
      handler = LambdaHandler.new(env_handler: ENV["_HANDLER"].to_s)
      require handler.handler_file_name
      handler
    rescue Exception => error
      failure = Failure.new(error, "Init")
      log_failure("Init error when loading handler ", failure)
      more = "Lambda-Runtime-Function-Error-Type: #{header(failure.type)}\r\n"
      connection.post("init/error", failure.document.to_json, more)
      exit(252)
    end

    # Does once what every function needs, because the first time takes far longer: learning what it becomes,
    # requiring a file, taking an event, answering. Leaves nothing behind but what is faster by it.
    def rehearse
      kept = { variables: ENV.to_h, paths: $LOAD_PATH.dup, folder: Dir.pwd }
      name = "lambic_rehearsal"
      connection = Rehearsal.new("#{name}.LambicRehearsal.handler", __dir__)
      connection.become
      connection.start
      Server.new(connection, load(connection)).run
    ensure
      Dir.chdir(kept[:folder])
      ENV.replace(kept[:variables])
      $LOAD_PATH.replace(kept[:paths])
      $LOADED_FEATURES.delete("#{__dir__}/#{name}.rb")
      Object.send(:remove_const, :LambicRehearsal)
      $_global_aws_request_id = nil
      # Ruby looks at every loaded file once more at the first require after its list was touched.
      require "json"
      # Folders of gems are looked for when the function has brought its own.
      Gem.clear_paths if defined?(Gem) && Gem.respond_to?(:clear_paths)
      Process.respond_to?(:warmup) ? Process.warmup : GC.start
    end

    # Forks whenever the platform says so. Returns in each copy, in whose place the platform has put another
    # stream and other pipes, and never in this process. Whether somebody waits for the copy.
    def wait_as_template
      own = Process.pid
      word = IO.for_fd(TEMPLATE_FD, "rb", autoclose: false)
      # What is old is looked at no more by a copy's collections.
      3.times { GC.start }
      flush
      said = nil
      loop do
        said = word.sysread(64)
        copy = fork
        break unless copy

        Process.wait(copy)
      end
      # Ruby gives a child what it must have of its own if it has another number.
      exit!(1) if Process.pid == own
      srand
      said.include?("somebody")
    rescue SystemCallError, IOError
      finish
    end

    def main
      STDOUT.sync = true
      is_spare = ENV.delete("_LAMBIC_SPARE")
      is_zygote = ENV.delete("_LAMBIC_TEMPLATE")
      forget_locale
      connection = Connection.new
      if is_spare
        rehearse
        if is_zygote
          connection.stand
          # What is done in the copy has its own memory.
          rehearse unless wait_as_template
        end
        connection.become
        forget_locale
      end
      connection.start
      Server.new(connection, load(connection)).run
    end
  end

  # A connection to nobody: on it come what a function is started with and one event.
  class Rehearsal < Connection
    def initialize(handler, folder)
      variables = ENV.to_h.merge("AWS_LAMBDA_RUNTIME_API" => "rehearsal", "_HANDLER" => handler)
      24.times { |number| variables["_LAMBIC_REHEARSAL_#{number}"] = "x" * 32 }
      variables["_LAMBIC_RUNTIME_FD"] = ""
      becomes = { env: variables, cwd: folder }
      event = "Lambda-Runtime-Deadline-Ms: 0\r\nLambda-Runtime-Aws-Request-Id: rehearsal\r\n"
      @io = Answers.new([answer("", becomes), answer(event, {})])
      @rest = String.new
    end

    # What is written to nobody and read from nobody.
    class Answers
      def initialize(all)
        @all = all
      end

      # There is no second event, which ends the loop.
      def write(*)
        raise StopIteration if @all.empty?
      end

      def readpartial(_bytes, _chunk)
        @all.shift
      end
    end

    private

    def answer(headers, document)
      body = document.to_json
      +"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n#{headers}Content-Length: #{body.bytesize}\r\n\r\n#{body}"
    end
  end

  # Loggers to the standard streams as AWS's client makes them: one record for each message, with the
  # request's id, in the format and from the level on that the function is configured for.
  module Logging
    LEVELS = { "TRACE" => 0, "DEBUG" => 0, "INFO" => 1, "WARN" => 2, "ERROR" => 3, "FATAL" => 4 }.freeze

    # What a logger writes to instead of the stream.
    module Sink
      class << self
        def write(text)
          LambicRuntime.write(text)
        end

        def close; end
      end
    end

    def initialize(device, *rest, **options)
      if device.nil? || device.equal?(STDOUT) || device.equal?(STDERR)
        device = Sink
        options[:formatter] ||= Logging.formatter
        level = LEVELS[ENV["AWS_LAMBDA_LOG_LEVEL"].to_s.upcase]
        options[:level] = level if level && !options.key?(:level)
      end
      super(device, *rest, **options)
    end

    # Ruby's own formatters are there only once somebody has a logger.
    def self.formatter
      kind = LambicRuntime.is_json? ? Records : Lines
      Class.new(::Logger::Formatter) { include kind }.new
    end

    # As text.
    module Lines
      def call(severity, time, progname, message)
        format("%s, [%s #%d] %5s %s -- %s: %s\n", severity[0], format_datetime(time), Process.pid, severity,
               $_global_aws_request_id, progname, LambicRuntime.utf8(msg2str(message)))
      end
    end

    # As JSON.
    module Records
      def call(severity, time, progname, message)
        record = { timestamp: time.getutc.strftime("%Y-%m-%dT%H:%M:%S.%6NZ"), level: severity }
        is_error = message.is_a?(Exception)
        record[:message] = LambicRuntime.utf8(is_error ? message.message : msg2str(message))
        record[:requestId] = $_global_aws_request_id if $_global_aws_request_id
        name = LambicRuntime.utf8(progname)
        record[:logger] = name unless name.empty?
        record.update(told(message)) if is_error
        "#{JSON.generate(record)}\n"
      end

      private

      def told(error)
        frames = (error.backtrace || []).map { |frame| LambicRuntime.utf8(frame) }
        members = {
          errorType: error.class.to_s, errorMessage: LambicRuntime.utf8(error.message), stackTrace: frames
        }
        place = frames.first&.match(/\A(?<file>.+):(?<line>\d+):in [`'](?<method>.+)'\z/)
        members[:location] = place ? "#{place[:file]}:#{place[:method]}:#{place[:line]}" : frames.first
        members.compact
      end
    end
  end

  # Notices the moment in which Ruby's Logger comes to be, whoever loads it.
  module LoggerWanted
    NAME = Module.instance_method(:name)

    def inherited(made)
      super
      return unless NAME.bind_call(made) == "Logger"

      LoggerWanted.send(:remove_method, :inherited)
      made.prepend(Logging)
    end
  end
  Object.autoload?(:Logger) ? Object.extend(LoggerWanted) : ::Logger.prepend(Logging)
end

# ---- What functions know by name -----------------------------------------------------------------

module Kernel
  # Lines that are printed together stay one record of the log.
  def puts(*things)
    return $stdout.puts(*things) unless $stdout.equal?(STDOUT)

    LambicRuntime.puts(things)
    nil
  end
  private :puts
end

module AwsLambda
  # Makes events of what the platform sends, and answers of what handlers return. Functions may replace
  # both.
  class Marshaller
    class << self
      def marshall_request(raw_request)
        return raw_request.body unless raw_request["Content-Type"] == "application/json"

        JSON.parse(raw_request.body)
      end

      # The body, and its type unless it is JSON.
      def marshall_response(method_response)
        return [method_response, "application/unknown"] if stream?(method_response)

        method_response.to_json
      end

      private

      def stream?(thing)
        thing.is_a?(IO) || (!Object.autoload?(:StringIO) && thing.is_a?(StringIO))
      end
    end
  end
end

# What a handler gets as `context`.
class LambdaContext
  attr_reader :aws_request_id, :invoked_function_arn, :log_group_name, :log_stream_name, :function_name,
              :memory_limit_in_mb, :function_version, :identity, :client_context, :deadline_ms, :tenant_id

  def initialize(request)
    @deadline_ms = request["Lambda-Runtime-Deadline-Ms"].to_i
    @aws_request_id = request["Lambda-Runtime-Aws-Request-Id"]
    @invoked_function_arn = request["Lambda-Runtime-Invoked-Function-Arn"]
    @log_group_name = ENV["AWS_LAMBDA_LOG_GROUP_NAME"]
    @log_stream_name = ENV["AWS_LAMBDA_LOG_STREAM_NAME"]
    @function_name = ENV["AWS_LAMBDA_FUNCTION_NAME"]
    @memory_limit_in_mb = ENV["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
    @function_version = ENV["AWS_LAMBDA_FUNCTION_VERSION"]
    @identity = parsed(request["Lambda-Runtime-Cognito-Identity"])
    @client_context = parsed(request["Lambda-Runtime-Client-Context"])
    @tenant_id = request["Lambda-Runtime-Aws-Tenant-Id"]
  end

  def get_remaining_time_in_millis
    [@deadline_ms - Process.clock_gettime(Process::CLOCK_REALTIME, :millisecond), 0].max
  end

  private

  def parsed(text)
    JSON.parse(text) unless text.to_s.empty?
  end
end

# Finds and calls the handler. One that is a method of the file is called on this object, as on AWS.
class LambdaHandler
  attr_reader :handler_file_name, :handler_method_name

  def initialize(env_handler:)
    parts = env_handler.split(".")
    unless [2, 3].include?(parts.size)
      raise ArgumentError,
            "Invalid handler #{parts}, must be of form FILENAME.METHOD or FILENAME.CLASS.METHOD where FILENAME " \
            "corresponds with an existing Ruby source file FILENAME.rb, CLASS is an optional module/class " \
            "namespace and METHOD is a callable method. If using CLASS, METHOD must be a class-level method."
    end
    @handler_file_name = parts.first
    @handler_class = parts[1] if parts.size == 3
    @handler_method_name = parts.last
  end

  def call_handler(request:, context:)
    owner = @handler_class ? Kernel.const_get(@handler_class) : self
    owner.__send__(@handler_method_name, event: request, context: context)
  end
end

LambicRuntime.main
