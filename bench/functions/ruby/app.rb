# The Ruby function that is measured: it adds one.
def handler(event:, context:)
  { ok: true, n: event["n"] + 1 }
end
