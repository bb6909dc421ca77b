# frozen_string_literal: true

# What a spare of the Ruby runtime requires and calls once, before it has a function.
module LambicRehearsal
  def self.handler(event:, context:)
    event
  end
end
